"""Lines of text files, plain or compressed, one at a time: whatever a file holds, memory is bounded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tfxlm.errors import CorruptFileError, InputError, UnsupportedFileError
from tfxlm.files import describe_placeholder

#: Longest line that is taken for a sentence.
MAX_LINE_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OPENERS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_NO_TEXT = {
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard. Decompress it (zstd -d), or compress it with gzip",
    b"PK\x03\x04": "a ZIP archive. Unpack it, and name the text in it",
    b"\xff\xfe": "UTF-16. Convert it (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16. Convert it (iconv -f UTF-16 -t UTF-8)",
}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, OSError)

# Called with the bytes of a file, as it lies on the disk, that were read since it was called before.
Progress = Callable[[int], None]


@dataclass
class Counts:
    """What was read, and what is peculiar about it.

    Args:
        lines: all of them; of aligned files those of one.
        bad_utf8: lines with bytes that are no UTF-8, in place of which U+FFFD stands.
        crlf: lines that end as on Windows.
        empty: lines without text, and pairs of which a side has none.
        too_long: lines that are left out for their length.
        no_pair: lines without a tab between two texts.
    """

    lines: int = 0
    bad_utf8: int = 0
    crlf: int = 0
    empty: int = 0
    too_long: int = 0
    no_pair: int = 0


def read_lines(
    path: Path, counts: Counts, *, max_bytes: int = MAX_LINE_BYTES, progress: Progress | None = None
) -> Iterator[str | None]:
    r"""Reads the lines of a UTF-8 file, plain or compressed by gzip, bzip2 or xz: the content says which.

    Only "\n" ends a line.

    Args:
        path: the file.
        counts: are added to.
        max_bytes: longest line that is read.
        progress: is told of every now and then.

    Yields:
        Each line without its end; None for one that is too long.

    Raises:
        CorruptFileError: what is compressed is damaged or cut off, or a placeholder is in the place of the file.
        UnsupportedFileError: the file is no text.
        InputError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}. Name a file of text.") from error
    with file:
        text = _opened(path, file)
        place, is_first = 0, True
        try:
            while line := text.readline(max_bytes + 1):
                whole = line.endswith(b"\n") or len(line) <= max_bytes
                if not counts.lines % 1000 and progress:
                    place, before = file.tell(), place
                    progress(place - before)
                counts.lines += 1
                if whole:
                    yield _decoded(line.removeprefix(_BYTE_ORDER_MARK) if is_first else line, counts)
                else:
                    counts.too_long += 1
                    while line and not line.endswith(b"\n"):
                        line = text.readline(max_bytes)
                    yield None
                is_first = False
        except _BROKEN as error:
            raise CorruptFileError(
                f"'{path}' is damaged or cut off ({error}) behind line {counts.lines}. Get it again."
            ) from error
        if progress:
            progress(file.tell() - place)


def _opened(path: Path, file: IO[bytes]) -> Any:
    head = file.read(512)
    file.seek(0)
    what = next((text for magic, text in _NO_TEXT.items() if head.startswith(magic)), None)
    if what:
        raise UnsupportedFileError(f"'{path}' is no text in UTF-8, but {what}.")
    if head and (placeholder := describe_placeholder(head)):
        raise CorruptFileError(f"'{path}' is {placeholder}.")
    return next((opener(file) for magic, opener in _OPENERS.items() if head.startswith(magic)), file)


def _decoded(line: bytes, counts: Counts) -> str:
    counts.crlf += line.endswith(b"\r\n")
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        counts.bad_utf8 += 1
        return line.decode(errors="replace").rstrip("\r\n")
