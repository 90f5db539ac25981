"""Finding and opening weights, whatever file format and layout they have."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.checkpoint import Checkpoint
from tfxlm.checkpoints.layouts.torch_objects import read_torch_contents
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.origin import Contents, Origin
from tfxlm.checkpoints.safetensors import read_safetensors
from tfxlm.checkpoints.sharded import read_index
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, UnsupportedFileError
from tfxlm.files import inside, resolve_folder

Reader = Callable[[MappedFile], Contents]
_Opener = Callable[[Path], MappedFile]


def _read_safetensors(file: MappedFile) -> Contents:
    return Contents(read_safetensors(file), "safetensors")


def _read_h5(file: MappedFile) -> Contents:
    # h5py takes longer to import than all the rest of this.
    from tfxlm.checkpoints.layouts.tensorflow_files import read_h5

    return Contents(read_h5(file), "HDF5 of Keras 2")


def _h5_index_name(name: str) -> str:
    from tfxlm.checkpoints.layouts.tensorflow_files import index_name

    return index_name(name)


# What turns the names in an index into those of the files, where they differ.
_INDEX_NAMES: Mapping[Reader, Callable[[str], str]] = {_read_h5: _h5_index_name}
# File formats by the name of a whole file, in the order in which they are looked for.
_FORMATS: dict[str, Reader] = {
    "model.safetensors": _read_safetensors,
    "pytorch_model.bin": read_torch_contents,
    "tf_model.h5": _read_h5,
}
_INDEX = ".index.json"
# What other programs call theirs: fairseq, and the original code of XLM.
ORIGINALS = ("model.pt", "*.pth")
# File formats by the ending of a file that is named itself.
_ENDINGS: dict[str, Reader] = {
    **{name.partition(".")[2]: reader for name, reader in _FORMATS.items()},
    **{name.partition(".")[2]: read_torch_contents for name in ORIGINALS},
}


def weight_files(variant: str | None = None, use_safetensors: bool | None = None) -> dict[str, Reader]:
    """Returns the names that weights can have, in the order in which they are looked for, with what reads each.

    Args:
        variant: of the weights, as in ``model.fp16.safetensors``.
        use_safetensors: True for safetensors alone, False for all but these, None for both.
    """
    files = {}
    for name, reader in _FORMATS.items():
        stem, _, ending = name.partition(".")
        if use_safetensors is None or use_safetensors == (ending == "safetensors"):
            files[".".join(filter(None, (stem, variant, ending)))] = reader
            files[".".join(filter(None, (name, "index", variant, "json")))] = reader
    return files


def find_weights(
    name_or_path: str | os.PathLike[str],
    *,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    **hub: Any,
) -> Path:
    """Finds weights, downloading those of the first format that there is of them.

    Args:
        name_or_path: a folder, a file, or a hub name.
        variant, use_safetensors: which weights; see `weight_files`.
        **hub: options of `tfxlm.files.resolve_folder`.

    Returns:
        The file if one was named, or a folder, which holds no weights if there are none.

    Raises:
        CheckpointNotFoundError: the folder or repository does not exist or cannot be reached.
    """
    if is_file(name_or_path):
        return Path(name_or_path).expanduser()
    names = list(weight_files(variant, use_safetensors))
    wanted = [
        (whole, f"{whole.rpartition('.')[0]}-*.{whole.rpartition('.')[2]}", index)
        for whole, index in zip(names[::2], names[1::2], strict=True)
    ]
    for patterns in (*wanted, ORIGINALS):
        folder = resolve_folder(name_or_path, patterns=patterns, **hub)
        if any(any(folder.glob(pattern)) for pattern in patterns):
            break
    return folder


def is_file(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint is given as one file; otherwise it is a folder or a hub name."""
    return os.path.isfile(Path(name_or_path).expanduser())


def find_original(name_or_path: str | os.PathLike[str], **hub: Any) -> Path | None:
    """Finds the checkpoint of another program, and downloads it if need be.

    Args:
        name_or_path: a file; or a folder or hub name, where there may be one.
        **hub: options of `tfxlm.files.resolve_folder`.

    Returns:
        The file; None when there is none.

    Raises:
        CheckpointNotFoundError: there is no such folder or repository, or several checkpoints are in it.
        UnsafeFileError: it is a link that leads out of the folder.
    """
    if is_file(name_or_path):
        return Path(name_or_path).expanduser()
    return _original_in(resolve_folder(name_or_path, patterns=ORIGINALS, **hub))


def read_origin(name_or_path: str | os.PathLike[str], **hub: Any) -> Origin | None:
    """Returns what the checkpoint of another program says of its model, without reading its weights.

    Returns:
        That, or None where there is no such checkpoint.

    Raises:
        CheckpointNotFoundError: see `find_original`.
        CorruptFileError, UnsafeFileError, UnsupportedFileError: see `open_checkpoint`.
    """
    path = find_original(name_or_path, **hub)
    if path is None:
        return None
    with open_checkpoint(path) as checkpoint:
        return checkpoint.origin


def open_checkpoint(
    path: str | Path,
    *,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    copy_on_write: bool = False,
) -> Checkpoint:
    """Opens weights: safetensors or a file of torch.save, whole or sharded; also those of FAIR's XLM and of fairseq.

    Only names, shapes and dtypes are read here. Names are those of `transformers`, whoever wrote the file.

    Args:
        path: a local folder, or a file.
        variant, use_safetensors: which weights of a folder; see `weight_files`.
        copy_on_write: whether views of the files can be written to, which never changes the files.

    Returns:
        The open checkpoint.

    Raises:
        CheckpointNotFoundError: the folder holds no weights file, or several checkpoints.
        CorruptFileError: a file is truncated, malformed or a placeholder.
        UnsafeFileError: a file tries to run code, or is a link in `path` that leads out of the folder.
        UnsupportedFileError: a file has a format or a layout that is not read.
    """
    path = Path(path)
    found, reader = _choose(path, weight_files(variant, use_safetensors))
    with ExitStack() as stack:
        open_file = _open_sharded if found.name.endswith(".json") else _open
        opened = open_file(found, reader, partial(_map, copy_on_write=copy_on_write, stack=stack))
        stack.pop_all()  # nothing went wrong: the checkpoint closes the files
        return opened


def _choose(path: Path, names: Mapping[str, Reader]) -> tuple[Path, Reader]:
    """Returns the file with weights that is named, or that a folder has, and what reads it."""
    if is_file(path):
        ending = next((one for one in _ENDINGS if path.name.removesuffix(_INDEX).endswith(f".{one}")), None)
        if ending is None:
            raise UnsupportedFileError(
                f"'{path}' has none of the endings that files with weights have: {', '.join(_ENDINGS)} (or one of "
                f"these and {_INDEX}). Name the folder of the checkpoint, or such a file."
            )
        return path, _ENDINGS[ending]
    for name, reader in names.items():
        # Neither of them is a pipe, for one, which would keep whoever opens it waiting.
        if os.path.isfile(path / name) or os.path.isdir(path / name):
            return inside(path, name), reader
    if not os.path.isdir(path):
        raise CheckpointNotFoundError(f"There is no folder or file '{path}'.")
    original = _original_in(path)
    if original is not None:
        return original, read_torch_contents
    there = sorted(file.name for file in path.iterdir())
    shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "") if there else "nothing"
    raise CheckpointNotFoundError(
        f"'{path}' holds no weights: expected one of {', '.join((*names, *ORIGINALS))}, found {shown}."
    )


def _original_in(folder: Path) -> Path | None:
    found = sorted({path for pattern in ORIGINALS for path in folder.glob(pattern) if path.is_file()})
    if len(found) > 1:
        raise CheckpointNotFoundError(
            f"'{folder}' holds {len(found)} checkpoints: {', '.join(path.name for path in found[:10])}. Name one of "
            f"these files, such as '{found[0]}'."
        )
    return inside(folder, found[0].name) if found else None


def _map(path: Path, *, copy_on_write: bool, stack: ExitStack) -> MappedFile:
    file = MappedFile(path, copy_on_write=copy_on_write)
    stack.callback(file.close)
    return file


def _open(path: Path, reader: Reader, map_file: _Opener) -> Checkpoint:
    file = map_file(path)
    contents = reader(file)
    return Checkpoint(path, (file,), contents.tensors, file_format=contents.file_format, origin=contents.origin)


def _open_sharded(path: Path, reader: Reader, map_file: _Opener) -> Checkpoint:
    name_of = _INDEX_NAMES.get(reader, str)
    weight_map = {name_of(name): shard for name, shard in read_index(path).items()}
    files = {shard: map_file(shard) for shard in sorted(set(weight_map.values()))}
    contents = {shard: reader(file) for shard, file in files.items()}
    shards = {shard: content.tensors for shard, content in contents.items()}
    absent = [name for name, shard in weight_map.items() if name not in shards[shard]]
    if absent:
        raise CorruptFileError(
            f"'{path}' lists {len(absent)} tensors that are not in their files, e.g. '{absent[0]}' in "
            f"'{weight_map[absent[0]].name}'. Download index and files again, from one revision."
        )
    unlisted = tuple(name for shard in shards.values() for name in shard if name not in weight_map)
    entries = {name: shards[shard][name] for name, shard in weight_map.items()}
    formats = {content.file_format for content in contents.values()}
    return Checkpoint(path, tuple(files.values()), entries, unlisted, file_format=", ".join(sorted(formats)))
