"""Writes that leave nothing half done."""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfxlm.errors import InputError, OutputExistsError

try:
    import fcntl
except ImportError:  # Windows: folders cannot be locked there, and leftovers stay
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_TEMPORARY = ".tmp"
_PARTIAL = ".partial"
_RANDOM_BYTES = 6  # in the names of temporary files and folders
_RANDOM = rf"\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}{re.escape(_TEMPORARY)}"


def json_text(obj: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Returns an object as JSON, in the order of its keys, as `write_json` writes it.

    Raises:
        TypeError, ValueError, RecursionError: `obj` holds something that JSON cannot hold.
    """
    return json.dumps(dict(obj), ensure_ascii=False, indent=indent, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], obj: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Writes an object as UTF-8 JSON, in the order of its keys; the file appears whole or not at all.

    Args:
        path: the file; missing folders are made.
        obj: the object.
        indent: spaces per level, None for one line.

    Raises:
        InputError: `obj` holds something that JSON cannot hold.
        OutputExistsError: see `atomic_file`.
    """
    try:
        data = json_text(obj, indent=indent).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The content for '{path}' cannot be written as JSON: {error}.") from error
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder and those above it; one that exists stays as it is.

    Args:
        path: the folder.

    Raises:
        OutputExistsError: a file stands where the folder, or one above it, should be.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        in_the_way = next(part for part in (path, *path.parents) if os.path.lexists(part))
        raise OutputExistsError(
            f"Nothing can be saved in '{path}': '{in_the_way}' is a file. Give a folder to save to, or remove the file "
            "first."
        ) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary file in the folder of `path`; it takes that name when the block ends without an error.

    The content is on the disk before the rename, so a crash leaves the old file or the new one, never a part. A link
    at `path` is replaced, not followed. Missing folders are made.

    Args:
        path: the file to write.

    Raises:
        OutputExistsError: `path` is a folder, or a file stands where a folder above it should be.
    """
    path = Path(path)
    make_folder(path.parent)
    if path.is_dir() and not path.is_symlink():
        raise OutputExistsError(f"'{path}' is a folder. Choose another name for the file, or remove the folder first.")
    temporary = _temporary_beside(path)
    # Made here rather than by `tempfile`, whose files are private whatever the umask says.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary sibling folder; it takes the name `path` when the block ends without an error.

    What a process that was killed left of an earlier attempt is removed first.

    Args:
        path: the folder to make. It must not exist.

    Raises:
        OutputExistsError: `path` exists, or is being made by another process, or a file stands where a folder above it
            should be.
    """
    path = Path(path)
    with _temporary_folder(path) as temporary:
        yield temporary
        _finish(temporary, path)
        os.rename(temporary, path)
    _sync(path.parent)


@contextlib.contextmanager
def work_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder, in which the block makes a file of the name of `path`; at the end it becomes `path`.

    For what writes only to a file of the right name. What a process that was killed left of an earlier attempt is
    removed first.

    Args:
        path: the file to make. It must not exist.

    Raises:
        OutputExistsError: as for `atomic_folder`.
    """
    path = Path(path)
    with _temporary_folder(path) as temporary:
        yield temporary
        _finish(temporary, path)
        os.rename(temporary / path.name, path)
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(path.parent)


@contextlib.contextmanager
def resumable_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a folder beside `path` for long work; it takes that name when the block ends without an error.

    After an error or a kill it stays, and the next attempt finds in it what was done; an empty one is removed.

    Args:
        path: the folder to make. It must not exist.

    Raises:
        OutputExistsError: as for `atomic_folder`.
    """
    path = Path(path)
    _refuse_existing(path)
    make_folder(path.parent)
    work = path.with_name(f".{path.name}{_PARTIAL}")
    work.mkdir(exist_ok=True)
    lock = _lock(work)
    if fcntl is not None and lock is None:
        raise _being_made(path)
    try:
        yield work
        _finish(work, path)
        os.rename(work, path)
    finally:
        with contextlib.suppress(OSError):  # it holds something, or is `path` by now
            work.rmdir()
        if lock is not None:
            os.close(lock)
    _sync(path.parent)


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a locked folder beside `path`, which is gone when the block ends with an error."""
    _refuse_existing(path)
    make_folder(path.parent)
    _remove_leftovers(path)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    lock = None
    try:
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(temporary)
        # Before it was locked, another process may have taken it for what was left.
        if fcntl is not None and (lock is None or not temporary.exists()):
            raise _being_made(path)
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _finish(temporary: Path, path: Path) -> None:
    """Puts what is in a folder on the disk.

    Raises:
        OutputExistsError: `path` was made meanwhile.
    """
    for root, _, names in os.walk(temporary):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))
    _refuse_existing(path)


def remove_folder(path: str | os.PathLike[str]) -> None:
    """Removes a folder: it is there whole or not at all. What cannot be removed is left under a temporary name."""
    temporary = _temporary_beside(Path(path))
    os.rename(path, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Removes the temporary files and folders that processes which were killed have left in a folder.

    Args:
        folder: what only this process writes to; it need not be there.

    Raises:
        OutputExistsError: another process writes to it.
    """
    if Path(folder).is_dir():
        _remove_matching(Path(folder), re.compile(rf"\..+{_RANDOM}"))


def _being_made(path: Path) -> OutputExistsError:
    return OutputExistsError(f"'{path}' is being made by another process. Wait for it, or choose another name.")


def _remove_leftovers(path: Path) -> None:
    """Removes temporary folders for `path` that nobody writes to any more.

    Raises:
        OutputExistsError: somebody writes to one.
    """
    _remove_matching(path.parent, re.compile(rf"\.{re.escape(path.name)}{_RANDOM}"), only_folders=True)


def _remove_matching(parent: Path, names: re.Pattern[str], only_folders: bool = False) -> None:
    for path in sorted(parent.iterdir()) if fcntl is not None else ():
        is_folder = path.is_dir() and not path.is_symlink()
        if not names.fullmatch(path.name) or (only_folders and not is_folder):
            continue
        lock = _lock(path) if is_folder else None
        if is_folder and lock is None:
            raise _being_made(path.with_name(re.sub(_RANDOM, "", path.name).removeprefix(".")))
        logger.info("Removing '%s', which an interrupted process left.", path)
        if lock is None:
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Locks a folder until the descriptor returned is closed or the process ends; None when it is locked already."""
    descriptor = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _temporary_beside(path: Path) -> Path:
    # A leading dot and a suffix: no glob for weights and no watcher of numbered folders takes it for the real one.
    return path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}{_TEMPORARY}")


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise OutputExistsError(f"'{path}' exists already. Choose another name, or remove it first.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
