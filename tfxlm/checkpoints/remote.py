"""Safetensors on the hub, of which only the headers are fetched."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.opening import weight_files
from tfxlm.checkpoints.sharded import shard_names
from tfxlm.errors import CorruptFileError
from tfxlm.files import resolve_folder

_LARGEST = 1 << 44  # bytes of a file, that of its stand-in must not be more than a file system has


@contextmanager
def fetched_headers(
    name_or_path: str | os.PathLike[str], *, variant: str | None = None, use_safetensors: bool | None = None, **hub: Any
) -> Iterator[Path | None]:
    """Yields a folder with stand-ins for the safetensors of a hub repository: headers, and holes for the numbers.

    Args:
        name_or_path: a hub name. Of folders and files there are no stand-ins.
        variant, use_safetensors: which weights; see `weight_files`.
        **hub: options of `tfxlm.files.resolve_folder`.

    Yields:
        The folder, which is gone after the block; None where there are no safetensors, or the hub cannot be reached.

    Raises:
        CorruptFileError, UnsafeFileError: a header or an index is malformed.
    """
    if use_safetensors is False or hub.get("local_files_only") or os.path.exists(Path(name_or_path).expanduser()):
        yield None
        return
    whole, index = list(weight_files(variant, use_safetensors=True))[:2]
    with tempfile.TemporaryDirectory() as temporary:
        folder, name = Path(temporary), os.fspath(name_or_path)
        found = _fetch(name, whole, folder, hub) or _fetch_shards(name, index, folder, hub)
        yield folder if found else None


def _fetch_shards(name: str, index: str, folder: Path, hub: dict[str, Any]) -> bool:
    """Writes the stand-ins of all shards, and copies their index; False where there is none."""
    path = resolve_folder(name, patterns=[index], **hub) / index
    if not path.is_file():
        return False
    shutil.copyfile(path, folder / index)
    return all(_fetch(name, shard, folder, hub) for shard in shard_names(path))


def _fetch(name: str, file: str, folder: Path, hub: dict[str, Any]) -> bool:
    """Writes the stand-in of a file; False where the hub does not give its header."""
    import huggingface_hub
    from huggingface_hub import errors

    # Without a connection the error is of the library that the hub library talks through.
    failures: Any = (
        *(OSError, ValueError, errors.HfHubHTTPError, *errors.HfHubHTTPError.__bases__),
        errors.SafetensorsParsingError,
    )
    try:
        found = huggingface_hub.parse_safetensors_file_metadata(
            name,
            "/".join(filter(None, (hub.get("subfolder"), file))),
            revision=hub.get("revision"),
            token=hub.get("token"),
        )
    except failures:
        return False
    header: dict[str, Any] = {"__metadata__": found.metadata} if found.metadata else {}
    header |= {
        name: {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets}
        for name, info in found.tensors.items()
    }
    data = json.dumps(header).encode()
    size = max([0, *(info.data_offsets[1] for info in found.tensors.values())])
    if size > _LARGEST:
        raise CorruptFileError(f"'{file}' of '{name}' has a corrupt header: by it the file has {size} bytes.")
    with (folder / file).open("wb") as output:
        output.write(len(data).to_bytes(8, "little") + data)
        output.truncate(8 + len(data) + size)
    return True
