"""Folders on the hub or on disk."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tfxlm.errors import CheckpointNotFoundError, UnsafeFileError, UploadError


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
    # The functions of `os.path` say no where those of `Path` raise, as for a name that is too long to be one.
    if not os.path.isdir(folder):
        if os.path.exists(folder):
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


def inside(folder: Path, name: str) -> Path:
    """Returns the path of a file in a folder, which there may be.

    Args:
        folder: the folder, whose files may be somebody else's.
        name: of the file.

    Raises:
        UnsafeFileError: the file is a link that leads out of the folder.
    """
    path = folder / name
    if leads_out(path):
        raise UnsafeFileError(
            f"'{path}' is a link that leads out of its folder, which files of others must not. Put the file itself "
            "there, or name the file that it leads to."
        )
    return path


def leads_out(path: Path) -> bool:
    """Whether a path is a link that leads out of its folder; in the cache of the hub, out of its repository."""
    folder = Path(os.path.realpath(path.parent))
    # The links of a snapshot in the cache lead to the blobs of its repository.
    repositories = [
        parent.parent for parent in folder.parents if parent.name == "snapshots" and (parent.parent / "blobs").is_dir()
    ]
    target = Path(os.path.realpath(path))
    return not any(target.is_relative_to(allowed) for allowed in (folder, *repositories[:1]))


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
