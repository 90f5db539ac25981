"""Folders on the hub or on disk, JSON, and writes that leave nothing half done.

Paths in, paths out: nothing here knows what a model is.
"""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tfxlm.errors import (
    CheckpointNotFoundError,
    CorruptFileError,
    InputError,
    OutputExistsError,
    UnsafeFileError,
    UploadError,
)

MAX_JSON_BYTES = 64 * 1024 * 1024  # the largest released vocabulary file has a tenth of this

# First bytes of files that are often found where the real file should be.
_PLACEHOLDERS = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: run `git lfs pull` in its repository"),
    (b"<!doctype html", "an HTML page, probably an error or login page saved by a download: download the file again"),
    (b"<html", "an HTML page, probably an error or login page saved by a download: download the file again"),
)


def resolve_folder(
    name_or_path: str | os.PathLike[str],
    *,
    patterns: Sequence[str],
    revision: str | None = None,
    token: str | bool | None = None,
    subfolder: str = "",
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> Path:
    """Finds the local folder behind a path or a hub name, downloading what is missing.

    An existing local folder is used as it is. Anything else is taken as the name of a hub repository.

    Args:
        name_or_path: a local folder, or a hub name such as ``"FacebookAI/xlm-mlm-en-2048"``.
        patterns: the files wanted from the hub, as glob patterns relative to `subfolder`, e.g. ``["*.json"]``.
        revision: branch, tag or commit on the hub; the default branch if None.
        token: hub token, True for the stored one, None for the hub library's default.
        subfolder: folder inside the folder or repository, with ``/`` between its parts.
        local_files_only: use the hub cache only and open no connection.
        cache_dir: hub cache folder; the hub library's default if None.
        force_download: download what the cache holds already, too.

    Returns:
        An existing folder. For a hub name it holds at least what the cache has of `patterns`.

    Raises:
        CheckpointNotFoundError: the folder or repository does not exist or cannot be reached.
        UnsafeFileError: `subfolder` leads out of the folder.
    """
    parts = _subfolder_parts(subfolder)
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise CheckpointNotFoundError(
                f"Expected a folder, but '{name_or_path}' is a file. Pass the folder that holds it."
            )
        wanted = ["/".join((*parts, pattern)) for pattern in patterns]
        folder = _download(
            os.fspath(name_or_path),
            wanted,
            revision=revision,
            token=token,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            force_download=force_download,
        )
    found = folder.joinpath(*parts)
    if not found.is_dir():
        raise CheckpointNotFoundError(
            f"'{name_or_path}' has no subfolder '{subfolder}'"
            + (f" at revision '{revision}'" if revision else "")
            + ". Check the spelling, or leave `subfolder` out."
        )
    if not found.resolve().is_relative_to(folder.resolve()):
        raise UnsafeFileError(f"subfolder '{subfolder}' of '{name_or_path}' is a link that leads out of the folder.")
    return found


def upload_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    names: Sequence[str],
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Uploads files of a folder to a model repository on the hub, which is made when it is missing.

    Args:
        folder: the folder.
        repo_id: name of the repository; without an organisation it is the user's own.
        names: the files, relative to `folder`.
        commit_message: of the commit; "Upload model" if None.
        private: whether a new repository is private; the organisation's default if None.
        token: hub token, True for the stored one, None for the hub library's default.
        revision: branch, made when it is missing; the default branch if None.
        create_pr: whether to open a pull request instead of a commit.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        UploadError: the hub refuses the upload or cannot be reached, or `repo_id` is no name.
    """
    import huggingface_hub
    from huggingface_hub import errors

    # Without a connection the error is of the library that the hub library talks through.
    failures: Any = (OSError, errors.HfHubHTTPError, *errors.HfHubHTTPError.__bases__)
    try:
        repo_id = huggingface_hub.create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/"):
            huggingface_hub.create_branch(repo_id, branch=revision, token=token, exist_ok=True)
        commit = huggingface_hub.upload_folder(
            repo_id=repo_id,
            folder_path=os.fspath(folder),
            commit_message=commit_message or "Upload model",
            token=token,
            revision=revision,
            create_pr=create_pr,
            allow_patterns=list(names),
        )
    except errors.HFValidationError as error:
        raise UploadError(
            f"'{repo_id}' is not a hub name such as 'your-name/your-model', so nothing was uploaded."
        ) from error
    except failures as error:
        raise UploadError(
            f"Uploading to '{repo_id}' failed ({type(error).__name__}: {error}). Check the connection, log in with "
            "`hf auth login` or pass a `token` that may write there, and try again."
        ) from error
    return str(commit.pr_url if create_pr else commit.commit_url)


def read_json(path: str | os.PathLike[str], *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Reads a UTF-8 file that holds one JSON object.

    Args:
        path: the file.
        max_bytes: largest size that is read.

    Returns:
        The object as a dict.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CorruptFileError: the file is too large, not UTF-8, not JSON, nested too deeply, or not an object.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointNotFoundError(f"There is no file '{path}'.") from error
    except IsADirectoryError as error:
        raise CheckpointNotFoundError(f"Expected a JSON file, but '{path}' is a folder.") from error
    if len(data) > max_bytes:
        raise CorruptFileError(f"'{path}' is larger than {max_bytes} bytes, the most that is read of a JSON file.")
    if placeholder := describe_placeholder(data):
        raise CorruptFileError(f"'{path}' is {placeholder}.")
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
        text = json.dumps(dict(obj), ensure_ascii=False, indent=indent, allow_nan=False) + "\n"
        data = text.encode("utf-8")
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

    Args:
        path: the folder to make. It must not exist.

    Raises:
        OutputExistsError: `path` exists, or a file stands where a folder above it should be.
    """
    path = Path(path)
    _refuse_existing(path)
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for root, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(root, name))
            _sync(Path(root))
        _refuse_existing(path)  # somebody else may have made it meanwhile
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)


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


def _subfolder_parts(subfolder: str) -> tuple[str, ...]:
    parts = PurePosixPath(subfolder).parts
    if PurePosixPath(subfolder).is_absolute() or ".." in parts or "\\" in subfolder or "\0" in subfolder:
        raise UnsafeFileError(
            f"subfolder '{subfolder}' leads out of the folder. Give a relative path without '..', e.g. 'models/base'."
        )
    return parts


def _download(
    name: str,
    patterns: list[str],
    *,
    revision: str | None,
    token: str | bool | None,
    local_files_only: bool,
    cache_dir: str | os.PathLike[str] | None,
    force_download: bool,
) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    at_revision = f" at revision '{revision}'" if revision else ""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                allow_patterns=patterns,
                revision=revision,
                token=token,
                local_files_only=local_files_only,
                cache_dir=None if cache_dir is None else os.fspath(cache_dir),
                force_download=force_download,
            )
        )
    except errors.HFValidationError as error:
        raise CheckpointNotFoundError(
            f"There is no folder '{name}', and it is not a hub name such as 'FacebookAI/xlm-mlm-en-2048' either."
        ) from error
    except errors.GatedRepoError as error:
        raise CheckpointNotFoundError(
            f"The hub repository '{name}' is gated. Accept its terms on its page, then log in with `hf auth login` "
            "or pass `token`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointNotFoundError(
            f"There is no folder '{name}' and no hub repository of that name that you may see. Check the spelling; "
            "for a private repository log in with `hf auth login` or pass `token`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointNotFoundError(
            f"The hub repository '{name}' has no revision '{revision}'. Give an existing branch, tag or commit."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        if local_files_only or huggingface_hub.constants.HF_HUB_OFFLINE:
            raise CheckpointNotFoundError(
                f"There is no folder '{name}', the hub cache does not hold '{name}'{at_revision}, and downloads are "
                "off (`local_files_only=True` or HF_HUB_OFFLINE=1). Download it once while online."
            ) from error
        raise CheckpointNotFoundError(
            f"There is no folder '{name}', the hub cache does not hold '{name}'{at_revision}, and the hub cannot be "
            "reached. Check the connection and HF_ENDPOINT, or pass the path of a local folder."
        ) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise CheckpointNotFoundError(
            f"Downloading '{name}'{at_revision} from the hub failed ({type(error).__name__}: {error}). Try again, or "
            "pass the path of a local folder."
        ) from error


def _temporary_beside(path: Path) -> Path:
    # A leading dot and a suffix: no glob for weights and no watcher of numbered folders takes it for the real one.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise OutputExistsError(f"'{path}' exists already. Choose another name, or remove it first.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
