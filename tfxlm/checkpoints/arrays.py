"""The tensors inside memory-mapped files."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tfxlm.checkpoints.mapped_files import Checksum, MappedFile
from tfxlm.errors import CorruptFileError

MAX_DIMS = 64  # numpy's limit
_MAX_BYTES = 1 << 62  # numpy counts bytes in 63 bits
_READ_BYTES = 1 << 20  # of rows that are transposed or cast, in one go: what a cache holds
# How many rows it is best to transpose in one go, by the size of their elements (measured).
_TRANSPOSED_ROWS = {1: 128, 2: 128, 4: 16, 8: 16}
_EXPANDED_BYTES = 1 << 24  # what a view that repeats its storage may take when that is more than its file


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor, as the file has them.

    Attributes:
        shape: in the file's orientation.
        dtype: a numpy dtype; ``ml_dtypes.bfloat16`` for bfloat16.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies in a file.

    Attributes:
        file: the file.
        shape: in the file's orientation.
        dtype: numpy dtype in the machine's byte order.
        offset: first byte in the file.
        strides: steps between elements in elements; None for a contiguous tensor.
        swap: whether the file has the other byte order.
        checksum: of the bytes that hold the tensor, where the format has one.
    """

    file: MappedFile
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...] | None = None
    swap: bool = False
    checksum: Checksum | None = None

    @property
    def info(self) -> TensorInfo:
        """Shape and dtype."""
        return TensorInfo(self.shape, self.dtype)

    @property
    def nbytes(self) -> int:
        """Size of the tensor in bytes when it is contiguous."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def span(self) -> tuple[int, int]:
        """First byte in the file and the byte after the last."""
        if not self.nbytes:
            return self.offset, self.offset
        if self.strides is None:
            return self.offset, self.offset + self.nbytes
        steps = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return self.offset, self.offset + (steps + 1) * self.dtype.itemsize

    def move(self, count: int) -> None:
        """Moves the tensor by a number of bytes; for readers that know its place only after they made it."""
        object.__setattr__(self, "offset", self.offset + count)

    def inside(self, file: MappedFile, checksums: dict[Checksum, Checksum]) -> "TensorEntry":
        """Returns the same tensor in another map of the same file.

        Args:
            file: the map.
            checksums: those of the other map, by those of this one; added to.
        """
        checksum = self.checksum
        if checksum is not None:
            checksum = checksums.setdefault(checksum, checksum.inside(file))
        return replace(self, file=file, checksum=checksum)

    def turned(self) -> "TensorEntry":
        """Returns the transposed matrix."""
        rows, columns = self.shape
        # Of a contiguous matrix, or back to one.
        strides = (1, columns) if self.strides is None else None
        return replace(self, shape=(columns, rows), strides=strides)

    @property
    def _is_turned(self) -> bool:
        """Whether the tensor is the transposed matrix of a contiguous one."""
        return (
            len(self.shape) == 2 and self.strides == (1, self.shape[0]) and not (self.swap and self.dtype.itemsize > 1)
        )

    def check(self, name: str) -> None:
        """Checks that the tensor lies inside the file and that reading it takes no more memory than it should.

        Args:
            name: what to call it in the error.

        Raises:
            CorruptFileError: it does not.
        """
        path = self.file.path
        if len(self.shape) > MAX_DIMS or math.prod(max(size, 1) for size in self.shape) > _MAX_BYTES // 8:
            raise CorruptFileError(f"'{path}': the shape of {name} is too large to be true. Download the file again.")
        first, last = self.span
        if first < 0 or last > self.file.size:
            raise CorruptFileError(
                f"'{path}' is truncated or corrupt: {name} needs the bytes {first} to {last}, the file has "
                f"{self.file.size}. Download it again."
            )
        if self.nbytes > max(self.file.size, _EXPANDED_BYTES):
            raise CorruptFileError(
                f"'{path}': {name} of shape {self.shape} repeats a few stored numbers over {self.nbytes} bytes. "
                "Save contiguous tensors instead."
            )

    def read(self) -> np.ndarray:
        """Returns the tensor, read-only: a view of the memory map, or a copy where the view would not be plain.

        Raises:
            CorruptFileError: the checksum of its bytes differs.
            InputError: the file was closed.
        """
        self._check_bytes()
        if not self.nbytes:
            array = np.empty(self.shape, self.dtype)
        else:
            steps = self.strides and tuple(stride * self.dtype.itemsize for stride in self.strides)
            array = np.ndarray(self.shape, self.dtype, buffer=self.file.map, offset=self.offset, strides=steps or None)
            if not (array.flags.c_contiguous and array.flags.aligned):
                array = np.array(array, order="C")
            if self.swap and self.dtype.itemsize > 1:
                # Through integers: bfloat16 is not a type that numpy itself knows how to swap.
                integers = array.view(np.dtype(f"u{self.dtype.itemsize}"))
                array = integers.byteswap().view(self.dtype)
        array.flags.writeable = False
        return array

    def read_into(self, array: np.ndarray) -> None:
        """Reads the tensor into an array of its shape, which may be transposed or of another dtype.

        No more memory is taken than for some rows, and none for the map.

        Raises:
            CorruptFileError: the checksum of its bytes differs, or the file has become shorter.
            InputError: the file was closed.
        """
        if self._is_plain and array.dtype == self.dtype and array.flags.c_contiguous:
            self._check_bytes()
            self._fill(0, array)
            return
        if self._is_turned:
            self.turned().read_into(array.T)
            return
        start = 0
        for part in self.parts(_READ_BYTES):
            _copy_rows(part, array[start : start + len(part)] if self.shape else array)
            start += len(part) if self.shape else 0

    def parts(self, max_bytes: int) -> Iterator[np.ndarray]:
        """Yields the tensor in parts along its first axis; the next overwrites the one before. The map takes no memory.

        Args:
            max_bytes: of a part, where one row is not more.

        Raises:
            CorruptFileError: the checksum of its bytes differs, or the file has become shorter.
            InputError: the file was closed.
        """
        if self._is_turned:
            whole = np.empty(self.shape, self.dtype)
            self.read_into(whole)
            yield whole
            return
        if not self._is_plain or not self.shape or not self.nbytes:
            yield self.read()
            self.file.release(*self.span)
            return
        self._check_bytes()
        length = self.shape[0]
        count = min(length, max(1, max_bytes // (self.nbytes // length)))
        rows = np.empty((count, *self.shape[1:]), self.dtype)
        for start in range(0, length, count):
            part = rows[: length - start]
            self._fill(start, part)
            yield part

    def _fill(self, row: int, array: np.ndarray) -> None:
        """Reads the rows from `row` on that `array` has room for."""
        start = self.offset + row * (self.nbytes // max(1, self.shape[0]) if self.shape else 0)
        # As bytes, because bfloat16 arrays offer no buffer.
        self.file.read_into(start, array.reshape(-1).view(np.uint8).data)

    def view(self, alignment: int) -> np.ndarray | None:
        """Returns the tensor as a view of the memory map, which can be written to if the map can.

        Args:
            alignment: of its first byte in memory.

        Returns:
            The view; None where the bytes of the file are not those of the tensor, or lie elsewhere.

        Raises:
            CorruptFileError: the checksum of its bytes differs.
            InputError: the file was closed.
        """
        if not self._is_plain or not self.nbytes:
            return None
        array = np.ndarray(self.shape, self.dtype, buffer=self.file.map, offset=self.offset)
        if array.ctypes.data % alignment:
            return None
        self._check_bytes()
        return array

    @property
    def _is_plain(self) -> bool:
        """Whether the bytes of the file are those of a contiguous array of this machine."""
        return self.strides is None and not (self.swap and self.dtype.itemsize > 1)

    def _check_bytes(self) -> None:
        if self.checksum is not None:
            self.checksum.check()


@dataclass(frozen=True)
class ZerosEntry(TensorEntry):
    """A tensor of zeros that a file does not hold, and that the model it is for has. Its `offset` means nothing."""

    @property
    def span(self) -> tuple[int, int]:
        """No bytes."""
        return self.offset, self.offset

    def read(self) -> np.ndarray:
        """Returns the zeros, read-only."""
        array = np.zeros(self.shape, self.dtype)
        array.flags.writeable = False
        return array

    def read_into(self, array: np.ndarray) -> None:
        """Fills an array of its shape with zeros."""
        array[...] = 0

    def parts(self, max_bytes: int) -> Iterator[np.ndarray]:
        """Yields the tensor whole, which is small."""
        yield self.read()

    def view(self, alignment: int) -> np.ndarray | None:
        """Returns None, as there is nothing to look at."""
        return None


def is_text(name: str) -> bool:
    """Whether a name has no halves of characters, which could be neither printed nor written."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _copy_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Copies rows into an array that may be transposed or of another dtype."""
    if out.flags.c_contiguous:
        out[...] = rows
        return
    rows = rows.astype(out.dtype, copy=False)
    few = _TRANSPOSED_ROWS[out.dtype.itemsize]
    # As integers, because numpy copies those of its own types in less time.
    integers = np.dtype(f"u{out.dtype.itemsize}")
    rows, out = rows.view(integers), out.view(integers)
    for start in range(0, len(rows), few):
        out[start : start + few] = rows[start : start + few]
