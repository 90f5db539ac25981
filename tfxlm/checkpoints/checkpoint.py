"""An open checkpoint, whatever file format its weights have."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from tfxlm.checkpoints.arrays import TensorEntry, TensorInfo
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.origin import Origin
from tfxlm.errors import WeightMismatchError


class Checkpoint:
    """The tensors of a checkpoint by name, read from memory maps when asked for. A context manager.

    Attributes:
        path: the weights file or index that was opened.
        files: the files that hold the tensors.
        unlisted: names of tensors that are in a file, but not in the index of a sharded checkpoint.
        file_format: the format of the files, for people.
        origin: what the file of another program says of its model; None for files of `transformers`.
    """

    def __init__(
        self,
        path: Path,
        files: tuple[MappedFile, ...],
        entries: dict[str, TensorEntry],
        unlisted: tuple[str, ...] = (),
        *,
        file_format: str = "",
        origin: Origin | None = None,
    ) -> None:
        self.path = path
        self.files = tuple(file.path for file in files)
        self.unlisted = unlisted
        self.file_format = file_format
        self.origin = origin
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

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor.

        Raises:
            WeightMismatchError: there is no such tensor.
        """
        return self._entry(name).nbytes

    def is_same(self, name: str, other: str) -> bool:
        """Whether a tensor is, in the file, the very bytes of another one, of which there need not be one."""
        return (
            name != other
            and other in self
            and replace(self._entry(name), checksum=None) == replace(self._entry(other), checksum=None)
        )

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
