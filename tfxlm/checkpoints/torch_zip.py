"""Files of torch.save since torch 1.6: zip archives.

``NAME/data.pkl`` is a pickle in which a tensor is a call of ``torch._utils._rebuild_tensor_v2`` on a storage, and a
storage is a persistent id that names the entry ``NAME/data/KEY`` with its raw numbers. The entries are not compressed,
so a tensor is a view of the mapped file. The archive has a checksum of each entry; that of a storage is compared when
the first tensor in it is read. Nothing is ever extracted, so names of entries can lead nowhere.
"""

import struct
import zipfile
from itertools import pairwise
from typing import Any

from tfxlm.checkpoints.mapped_files import Checksum, MappedFile
from tfxlm.checkpoints.restricted_pickle import MAX_PICKLE_BYTES, load_pickle
from tfxlm.checkpoints.torch_values import NAMES, PACKAGES, Storage, StorageType, storage_fields
from tfxlm.errors import CorruptFileError, UnsupportedFileError

_START = b"PK\x03\x04"


def is_zip(head: bytes) -> bool:
    """Whether a file that begins so is a zip archive."""
    return head.startswith(_START)


def read_zip(file: MappedFile) -> Any:
    """Returns the object in an archive, with a `TensorEntry` for each tensor.

    Raises:
        UnsafeFileError, UnsupportedFileError, CorruptFileError: see `torch_files.read_torch_object`.
    """
    entries = _zip_entries(file)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnsupportedFileError(
            f"'{file.path}' is a zip archive, but not one of torch.save: it has {len(pickles)} entries named "
            "'data.pkl' instead of one. Expected a state dict saved with torch.save or safetensors."
        )
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries:
        raise UnsupportedFileError(
            f"'{file.path}' is a TorchScript archive, a program rather than weights. Save `module.state_dict()` "
            "instead."
        )
    byte_order = _small_entry(file, entries, f"{prefix}byteorder", b"little")
    if byte_order not in (b"little", b"big"):
        raise CorruptFileError(f"'{file.path}' has the unknown byte order {byte_order!r}. Download it again.")
    data = _checked_pickle(file, entries[pickles[0]])

    storages: dict[tuple[str, StorageType, int], Storage] = {}
    checksums: dict[str, Checksum | None] = {}
    spans: dict[str, tuple[int, int]] = {}

    def load_storage(identifier: Any) -> Storage:
        kind, key, size, _ = storage_fields(identifier)
        if (key, kind, size) in storages:
            return storages[key, kind, size]
        if f"{prefix}data/{key}" not in entries:
            raise ValueError(f"there is no storage '{key}'")
        info = entries[f"{prefix}data/{key}"]
        offset, stop = _entry_span(file, info)
        if size * kind.dtype.itemsize > stop - offset:
            raise ValueError(f"storage '{key}' should have {size} elements, but has {stop - offset} bytes")
        if key not in checksums:  # one for all tensors of a storage, so that it is compared once
            checksums[key] = _checksum(file, info)
            spans[key] = (offset, stop)
        storage = Storage(file, offset, size, kind.dtype, byte_order == b"big", checksums[key])
        storages[key, kind, size] = storage
        return storage

    value, _ = load_pickle(data, path=file.path, names=NAMES, packages=PACKAGES, persistent_load=load_storage)
    _check_apart(file, spans)
    return value


def _check_apart(file: MappedFile, spans: dict[str, tuple[int, int]]) -> None:
    """Refuses an archive whose entries share bytes: a few of them could stand for any amount.

    Raises:
        CorruptFileError: when two do.
    """
    ordered = sorted(spans.items(), key=lambda item: item[1])
    for (first, (_, stop)), (second, (start, _)) in pairwise(ordered):
        if start < stop:
            raise CorruptFileError(
                f"'{file.path}' is a corrupt zip archive: storages '{first}' and '{second}' share bytes. Download it "
                "again."
            )


def _zip_entries(file: MappedFile) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file.path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OverflowError, EOFError) as error:
        raise CorruptFileError(
            f"'{file.path}' is a truncated or corrupt zip archive ({error}). Download it again."
        ) from error
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise CorruptFileError(f"'{file.path}' is a zip archive with two entries of one name. Download it again.")
    return entries


def _entry_span(file: MappedFile, info: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte of an entry's content in the file and the byte after its last."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise UnsupportedFileError(
            f"'{file.path}': the entry '{info.filename}' is compressed or encrypted, which torch.save never does. Save "
            "the weights again with torch.save, or as safetensors."
        )
    at = info.header_offset
    header = file.map[at : at + 30] if 0 <= at <= file.size else b""
    if len(header) == 30 and header.startswith(_START):
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        start = at + 30 + name_length + extra_length
        if start + info.file_size <= file.size:
            return start, start + info.file_size
    raise CorruptFileError(
        f"'{file.path}' is a truncated or corrupt zip archive: the entry '{info.filename}' lies outside of it. "
        "Download it again."
    )


def _small_entry(file: MappedFile, entries: dict[str, zipfile.ZipInfo], name: str, default: bytes) -> bytes:
    if name not in entries:
        return default
    start, stop = _entry_span(file, entries[name])
    return file.map[start : min(stop, start + 64)].strip()


def _checked_pickle(file: MappedFile, info: zipfile.ZipInfo) -> bytes:
    start, stop = _entry_span(file, info)
    if stop - start > MAX_PICKLE_BYTES:
        raise CorruptFileError(
            f"'{file.path}' holds a pickle of {stop - start} bytes, more than the {MAX_PICKLE_BYTES} that are read."
        )
    if checksum := _checksum(file, info):
        checksum.check()
    return file.map[start:stop]


def _checksum(file: MappedFile, info: zipfile.ZipInfo) -> Checksum | None:
    # torch leaves it at 0 where it was told not to compute it.
    return Checksum(file, *_entry_span(file, info), info.CRC, info.filename) if info.CRC else None
