"""The index of a checkpoint that is split over several files."""

from pathlib import Path

from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, UnsafeFileError
from tfxlm.files import leads_out, read_json


def read_index(path: Path) -> dict[str, Path]:
    """Reads an index file, ``{"weight_map": {tensor name: file name}}``.

    Args:
        path: the index, e.g. ``folder/model.safetensors.index.json``.

    Returns:
        The file of each tensor; all of them exist.

    Raises:
        CorruptFileError: the index is malformed.
        UnsafeFileError: it names a file outside of its folder.
        CheckpointNotFoundError: a file that it names is missing.
    """
    weight_map = _weight_map(path)
    shards = {name: _shard(path, name) for name in sorted(set(weight_map.values()))}
    absent = [name for name, shard in shards.items() if not shard.is_file()]
    if absent:
        raise CheckpointNotFoundError(
            f"'{path}' lists {len(shards)} files, but {len(absent)} are missing: {', '.join(absent[:5])}. Download "
            "them."
        )
    return {name: shards[shard] for name, shard in weight_map.items()}


def shard_names(path: Path) -> list[str]:
    """Returns the names of the files that an index lists, which need not be there.

    Raises:
        CorruptFileError, UnsafeFileError: see `read_index`.
    """
    return [_shard(path, name).name for name in sorted(set(_weight_map(path).values()))]


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise CorruptFileError(f"'{path}' should map tensor names to file names under 'weight_map'. Download it again.")
    return weight_map


def _shard(index: Path, name: str) -> Path:
    if not name or name in (".", "..") or any(character in name for character in "/\\\0:"):
        raise UnsafeFileError(
            f"'{index}' names the file {name!r}. Expected a plain file name in the folder of the index."
        )
    shard = index.parent / name
    if leads_out(shard):
        raise UnsafeFileError(
            f"'{index}' names the file '{name}', which is a link that leads out of the folder. Put the file itself "
            "there."
        )
    return shard
