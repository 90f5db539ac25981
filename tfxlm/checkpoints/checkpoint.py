"""Opening a checkpoint folder, whatever file format its weights have."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from tfxlm.checkpoints.arrays import MappedFile, TensorEntry, TensorInfo
from tfxlm.checkpoints.safetensors import read_safetensors
from tfxlm.checkpoints.sharded import read_index
from tfxlm.checkpoints.torch_files import read_torch_file
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, WeightMismatchError

Reader = Callable[[MappedFile], dict[str, TensorEntry]]
_Opener = Callable[[Path], MappedFile]

# File formats by the name of a whole file, in the order in which they are looked for.
_FORMATS: dict[str, Reader] = {"model.safetensors": read_safetensors, "pytorch_model.bin": read_torch_file}


def weight_files(variant: str | None = None, use_safetensors: bool | None = None) -> dict[str, Reader]:
    """Returns the names that weights can have, in the order in which they are looked for, with what reads each.

    Args:
        variant: of the weights, as in ``model.fp16.safetensors``.
        use_safetensors: True for safetensors alone, False for files of torch.save alone, None for both.
    """
    files = {}
    for name, reader in _FORMATS.items():
        stem, _, ending = name.partition(".")
        if use_safetensors is None or use_safetensors == (ending == "safetensors"):
            files[".".join(filter(None, (stem, variant, ending)))] = reader
            files[".".join(filter(None, (name, "index", variant, "json")))] = reader
    return files


class Checkpoint:
    """The tensors of a checkpoint by name, read from memory maps when asked for. A context manager.

    Attributes:
        path: the weights file or index that was opened.
        files: the files that hold the tensors.
        unlisted: names of tensors that are in a file, but not in the index of a sharded checkpoint.
    """

    def __init__(
        self, path: Path, files: tuple[MappedFile, ...], entries: dict[str, TensorEntry], unlisted: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.files = tuple(file.path for file in files)
        self.unlisted = unlisted
        self._files = files
        self._entries = entries

    @property
    def size(self) -> int:
        """Bytes of all tensors together."""
        return sum(entry.nbytes for entry in self._entries.values())

    def names(self) -> tuple[str, ...]:
        """Names of the tensors, in the order of the files."""
        return tuple(self._entries)

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor, without reading it.

        Raises:
            WeightMismatchError: there is no such tensor.
        """
        return self._entry(name).info

    def read(self, name: str) -> np.ndarray:
        """Reads a tensor.

        Args:
            name: its name.

        Returns:
            A read-only array in the file's orientation. It is a view of the memory map unless the tensor is not
            contiguous, not aligned or in the other byte order.

        Raises:
            WeightMismatchError: there is no such tensor.
            InputError: the checkpoint was closed.
        """
        return self._entry(name).read()

    def read_into(self, name: str, array: np.ndarray) -> None:
        """Reads a tensor into an array, and takes no other memory for it.

        Args:
            name: its name.
            array: of its shape, for example a transposed view. It may have another dtype, to which values are cast.

        Raises:
            WeightMismatchError: there is no such tensor.
            CorruptFileError: the file has become shorter since it was opened.
            InputError: the checkpoint was closed.
        """
        self._entry(name).read_into(array)

    def parts(self, name: str, max_bytes: int) -> Iterator[np.ndarray]:
        """Yields a tensor in parts along its first axis; each is good until the next is asked for.

        Args:
            name: its name.
            max_bytes: of a part, where one row is not more.

        Raises:
            WeightMismatchError: there is no such tensor.
            CorruptFileError: the file has become shorter since it was opened.
            InputError: the checkpoint was closed.
        """
        return self._entry(name).parts(max_bytes)

    def view(self, name: str, alignment: int) -> np.ndarray | None:
        """Returns a tensor as a view of the memory map; what is not touched of it costs nothing.

        The map lives as long as the view. A file that gets shorter meanwhile takes the process down with it when the
        missing part is touched: no program can prevent that.

        Args:
            name: its name.
            alignment: what the address of its first byte must be a multiple of.

        Returns:
            The view, which can be written to with `copy_on_write`; None where it is elsewhere, not contiguous, in the
            other byte order, or empty.

        Raises:
            WeightMismatchError: there is no such tensor.
            InputError: the checkpoint was closed.
        """
        return self._entry(name).view(alignment)

    def release(self, name: str) -> None:
        """Gives back the memory that reading a tensor took; arrays already read reload it when they are used.

        Raises:
            WeightMismatchError: there is no such tensor.
            InputError: the checkpoint was closed.
        """
        entry = self._entry(name)
        entry.file.release(*entry.span)

    def close(self) -> None:
        """Closes the files. Arrays already read stay valid."""
        for file in self._files:
            file.close()

    def _entry(self, name: str) -> TensorEntry:
        if name not in self._entries:
            raise WeightMismatchError(f"'{self.path}' has no tensor '{name}'; it has {len(self)}, see `names()`.")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_checkpoint(
    folder: str | Path,
    *,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    copy_on_write: bool = False,
) -> Checkpoint:
    """Opens the weights in a folder: safetensors or a zip file of torch.save, whole or sharded.

    Only names, shapes and dtypes are read here.

    Args:
        folder: a local folder.
        variant, use_safetensors: which weights; see `weight_files`.
        copy_on_write: whether views of the files can be written to, which never changes the files.

    Returns:
        The open checkpoint.

    Raises:
        CheckpointNotFoundError: the folder holds no weights file.
        CorruptFileError: a file is truncated, malformed or a placeholder.
        UnsafeFileError: a file tries to run code or to lead out of the folder.
        UnsupportedFileError: a file has a format that is not read.
    """
    folder = Path(folder)
    names = weight_files(variant, use_safetensors)
    for name, reader in names.items():
        path = folder / name
        if path.exists():
            with ExitStack() as stack:
                open_file = _open_sharded if name.endswith(".json") else _open
                opened = open_file(path, reader, partial(_map, copy_on_write=copy_on_write, stack=stack))
                stack.pop_all()  # nothing went wrong: the checkpoint closes the files
                return opened
    if not folder.is_dir():
        raise CheckpointNotFoundError(f"There is no folder '{folder}'.")
    there = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "") if there else "nothing"
    raise CheckpointNotFoundError(f"'{folder}' holds no weights: expected one of {', '.join(names)}, found {shown}.")


def _map(path: Path, *, copy_on_write: bool, stack: ExitStack) -> MappedFile:
    file = MappedFile(path, copy_on_write=copy_on_write)
    stack.callback(file.close)
    return file


def _open(path: Path, reader: Reader, map_file: _Opener) -> Checkpoint:
    file = map_file(path)
    return Checkpoint(path, (file,), reader(file))


def _open_sharded(path: Path, reader: Reader, map_file: _Opener) -> Checkpoint:
    weight_map = read_index(path)
    files = {shard: map_file(shard) for shard in sorted(set(weight_map.values()))}
    shards = {shard: reader(file) for shard, file in files.items()}
    absent = [name for name, shard in weight_map.items() if name not in shards[shard]]
    if absent:
        raise CorruptFileError(
            f"'{path}' lists {len(absent)} tensors that are not in their files, e.g. '{absent[0]}' in "
            f"'{weight_map[absent[0]].name}'. Download index and files again, from one revision."
        )
    unlisted = tuple(name for shard in shards.values() for name in shard if name not in weight_map)
    entries = {name: shards[shard][name] for name, shard in weight_map.items()}
    return Checkpoint(path, tuple(files.values()), entries, unlisted)
