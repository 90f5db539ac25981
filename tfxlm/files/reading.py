"""JSON from files that may be anything."""

import json
import os
from pathlib import Path
from typing import Any

from tfxlm.errors import CheckpointNotFoundError, CorruptFileError

MAX_JSON_BYTES = 64 * 1024 * 1024  # the largest released vocabulary file has a tenth of this
# How many lists and objects there may be: some, and one for so many bytes. Each takes twenty times the three bytes that
# ask for it; files of many have more in each, such as a piece and its score.
_SOME_BRACKETS, _BYTES_PER_BRACKET = 100_000, 10

# First bytes of files that are often found where the real file should be.
_PLACEHOLDERS = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: run `git lfs pull` in its repository"),
    (b"<!doctype html", "an HTML page, probably an error or login page saved by a download: download the file again"),
    (b"<html", "an HTML page, probably an error or login page saved by a download: download the file again"),
)


def read_json(path: str | os.PathLike[str], *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Reads a UTF-8 file that holds one JSON object.

    Args:
        path: the file.
        max_bytes: largest size that is read.

    Returns:
        The object as a dict.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CorruptFileError: the file is too large, not UTF-8, not JSON, nested too deeply, of too many lists and objects,
            or not an object.
    """
    path = Path(path)
    try:
        data = read_most(path, max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointNotFoundError(f"There is no file '{path}'.") from error
    except IsADirectoryError as error:
        raise CheckpointNotFoundError(f"Expected a JSON file, but '{path}' is a folder.") from error
    if len(data) > max_bytes:
        raise CorruptFileError(f"'{path}' is larger than {max_bytes} bytes, the most that is read of a JSON file.")
    if placeholder := describe_placeholder(data):
        raise CorruptFileError(f"'{path}' is {placeholder}.")
    if data.count(b"[") + data.count(b"{") > _SOME_BRACKETS + len(data) // _BYTES_PER_BRACKET:
        raise CorruptFileError(f"'{path}' has more lists and objects than files of this project have. Get it again.")
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"'{path}' is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise CorruptFileError(
            f"'{path}' is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise CorruptFileError(f"'{path}' is nested too deeply to be a JSON file of this project.") from error
    except ValueError as error:  # an integer with thousands of digits
        raise CorruptFileError(f"'{path}' cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"'{path}' should hold a JSON object, but holds a {type(value).__name__}.")
    return value


def read_most(path: Path, max_bytes: int) -> bytes:
    """Returns the content of a file; of a larger one, one byte more than `max_bytes`."""
    with path.open("rb") as file:
        # What is asked for is allocated, however short the file is.
        return file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)


def describe_placeholder(head: bytes) -> str | None:
    """Says what a file is that is surely not what its name promises, and what to do about it.

    Args:
        head: the first bytes of the file; an empty file is recognised too.

    Returns:
        The end of a sentence that begins with the file's name and "is", or None if nothing is recognised.
    """
    if not head:
        return "empty (0 bytes): download it again"
    start = head[:64].lstrip().lower()
    return next((text for magic, text in _PLACEHOLDERS if start.startswith(magic)), None)
