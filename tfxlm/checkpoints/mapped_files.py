"""Memory-mapped files."""

import mmap
import os
import threading
import weakref
import zlib
from pathlib import Path

from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, InputError
from tfxlm.files import describe_placeholder

_CHECKED_BYTES = 1 << 24  # of a checksum in one go: what is mapped in at a time


class MappedFile:
    """A file mapped into memory: what is not touched costs nothing.

    Args:
        path: the file.
        copy_on_write: whether the map can be written to, which changes the memory of this process and never the file.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CorruptFileError: the file is empty, or a placeholder such as a git-LFS pointer.
    """

    def __init__(self, path: Path, *, copy_on_write: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            # The very file that is mapped stays open for `read_into`, whatever takes its name meanwhile.
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._closing = weakref.finalize(self, os.close, self._descriptor)
            head = bytes(self._read(0, memoryview(bytearray(64))))
            if placeholder := describe_placeholder(head):
                raise CorruptFileError(f"'{path}' is {placeholder}.")
            access = mmap.ACCESS_COPY if copy_on_write else mmap.ACCESS_READ
            self._map: mmap.mmap | None = mmap.mmap(self._descriptor, 0, access=access)
        except FileNotFoundError as error:
            raise CheckpointNotFoundError(f"There is no file '{path}'.") from error
        except IsADirectoryError as error:
            raise CheckpointNotFoundError(f"Expected a file with weights, but '{path}' is a folder.") from error
        self.size = len(self._map)
        status = os.fstat(self._descriptor)
        #: What changes when the file does.
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def map(self) -> mmap.mmap:
        """The memory map.

        Raises:
            InputError: the file was closed.
        """
        if self._map is None:
            raise InputError(f"'{self.path}' is closed. Read its tensors before closing the checkpoint.")
        return self._map

    def read_into(self, start: int, memory: memoryview) -> None:
        """Fills `memory` with the bytes from `start` on, none of which the map brings into memory.

        Raises:
            CorruptFileError: the file has become shorter since it was opened.
            InputError: the file was closed.
        """
        if self.map and len(self._read(start, memory)) < len(memory):
            raise CorruptFileError(f"'{self.path}' was shortened while it was read. Leave the file alone meanwhile.")

    def _read(self, start: int, memory: memoryview) -> memoryview:
        """Reads as much of `memory` as there is, whatever other threads read."""
        filled = 0
        while filled < len(memory) and (count := self._read_some(start + filled, memory[filled:])):
            filled += count
        return memory[:filled]

    def _read_some(self, start: int, memory: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [memory], start)
        with self._lock, open(self._descriptor, "rb", buffering=0, closefd=False) as file:
            file.seek(start)
            return file.readinto(memory) or 0

    def release(self, start: int, stop: int) -> None:
        """Gives the memory of the pages that hold the bytes `start` to `stop` back; reading them again reloads them."""
        if hasattr(mmap, "MADV_DONTNEED") and stop > start:
            first = start - start % mmap.PAGESIZE
            self.map.madvise(mmap.MADV_DONTNEED, first, stop - first)

    def close(self) -> None:
        """Closes the file. Arrays read from it stay valid: the map lives as long as the last of them."""
        # Not `mmap.close()`: numpy does not hold the buffer, so that would unmap the memory under living arrays.
        self._map = None
        self._closing()


class Checksum:
    """The CRC-32 of a run of bytes of a file, compared once: when the first tensor in it is read.

    Args:
        file: the file.
        start: first byte of the run.
        stop: the byte after its last.
        expected: what the file says the CRC-32 is.
        name: what to call the run in the error.
    """

    def __init__(self, file: MappedFile, start: int, stop: int, expected: int, name: str) -> None:
        self._file, self._start, self._stop = file, start, stop
        self._expected, self._name = expected, name
        self._is_good = False

    def inside(self, file: MappedFile) -> "Checksum":
        """Returns the same for another map of the same file, not compared yet."""
        return Checksum(file, self._start, self._stop, self._expected, self._name)

    def check(self) -> None:
        """Compares, giving pages back on the way, so that a large run takes no memory.

        Raises:
            CorruptFileError: the bytes are not those that were written.
            InputError: the file was closed.
        """
        if self._is_good:
            return
        found = 0
        with memoryview(self._file.map) as view:
            for start in range(self._start, self._stop, _CHECKED_BYTES):
                stop = min(start + _CHECKED_BYTES, self._stop)
                found = zlib.crc32(view[start:stop], found)
                self._file.release(start, stop)
        if found != self._expected:
            raise CorruptFileError(
                f"'{self._file.path}' is corrupt: the checksum of '{self._name}' differs. Download it again."
            )
        self._is_good = True
