"""Files of torch.save before torch 1.6: pickles one after another, then the numbers.

The file holds a magic number, the version of the protocol, facts about the machine, the object, and the list of its
storages, each a pickle; then, for each storage in that order, its number of elements in 8 bytes and its raw numbers.
A storage is a persistent id in the object's pickle, so where its numbers are is known only after the pickle was read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.pickle_values import shown
from tfxlm.checkpoints.restricted_pickle import load_pickle
from tfxlm.checkpoints.torch_values import NAMES, PACKAGES, Storage, storage_fields
from tfxlm.errors import CorruptFileError, UnsupportedFileError

# How the pickle of the number ends that torch writes first; its beginning depends on the version of pickles.
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC_WITHIN = 32
PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins so is one of torch.save before torch 1.6."""
    return head[:1] == b"\x80" and _MAGIC in head[:_MAGIC_WITHIN]


def read_legacy(file: MappedFile) -> Any:
    """Returns the object in a file, with a `TensorEntry` for each tensor.

    Raises:
        UnsafeFileError, UnsupportedFileError, CorruptFileError: see `torch_files.read_torch_object`.
    """
    load = partial(load_pickle, file.map, path=file.path, names=NAMES, packages=PACKAGES)
    protocol, position = load(persistent_load=_no_storage, start=file.map.find(_MAGIC) + len(_MAGIC))
    if protocol != PROTOCOL:
        raise UnsupportedFileError(
            f"'{file.path}' is in version {shown(protocol)} of the format of torch.save before 1.6, and {PROTOCOL} is "
            "the only one that was released. Save it again with a newer torch."
        )
    # Facts about the machine that wrote the file; numbers are little-endian on every one.
    _, start = load(persistent_load=_no_storage, start=position)
    storages: dict[str, Storage] = {}
    value, position = load(persistent_load=partial(_load_storage, file, storages), start=start)
    keys, position = load(persistent_load=_no_storage, start=position)
    for key, offset in _offsets(file, storages, keys, position).items():
        storages[key].move(offset)
    return value


def _no_storage(_: Any) -> Any:
    raise ValueError("there is a storage where there should be none")


def _load_storage(file: MappedFile, storages: dict[str, Storage], identifier: Any) -> Storage:
    """Returns a storage, which is moved to its place when that is known."""
    if type(identifier) is tuple and identifier[:1] == ("module",):
        raise UnsupportedFileError(
            f"'{file.path}' holds a whole module with its source code, a program rather than weights. Save "
            "`module.state_dict()` instead."
        )
    kind, key, size, view = storage_fields(identifier)
    if key not in storages:
        storages[key] = Storage(file, 0, size, kind.dtype, False, None)
    storage = storages[key]
    if (storage.dtype, storage.size) != (kind.dtype, size):
        raise ValueError(f"storage '{key}' has two types or sizes")
    return storage if view is None else _view(storage, view)


def _view(storage: Storage, view: Any) -> Storage:
    """Returns a part of a storage, ``(key, offset, size)``."""
    if type(view) is not tuple or len(view) != 3 or not all(type(number) is int for number in view[1:]):
        raise ValueError("the view of a storage is not what it should be")
    _, offset, size = view
    if offset < 0 or size < 0 or offset + size > storage.size:
        raise ValueError("the view of a storage leads out of it")
    part = Storage(storage.file, offset * storage.dtype.itemsize, size, storage.dtype, False, None)
    storage.parts.append(part)
    return part


def _offsets(file: MappedFile, storages: Mapping[str, Storage], keys: Any, position: int) -> dict[str, int]:
    """Returns the first byte of each storage's numbers.

    Raises:
        CorruptFileError: when the list of storages or the file ends too early, or sizes contradict each other.
    """
    if type(keys) is not list or not all(type(key) is str for key in keys) or set(keys) != set(storages):
        raise CorruptFileError(f"'{file.path}' does not list the storages that its tensors are in. Download it again.")
    offsets: dict[str, int] = {}
    for key in keys:
        size = storages[key].size
        stop = position + _COUNT.size + size * storages[key].dtype.itemsize
        header = file.map[position : position + _COUNT.size]
        if len(header) < _COUNT.size or stop > file.size:
            raise CorruptFileError(
                f"'{file.path}' is truncated: storage '{key}' should end at byte {stop}, and the file has {file.size}. "
                "Download it again."
            )
        count = int.from_bytes(header, "little", signed=True)
        if count != size:
            raise CorruptFileError(
                f"'{file.path}' says that storage '{key}' has {size} elements, and {count} where they are. Download it "
                "again."
            )
        offsets[key] = position + _COUNT.size
        position = stop
    return offsets
