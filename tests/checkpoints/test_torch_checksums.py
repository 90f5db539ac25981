"""Checksums in the archives of torch.save: what is damaged is noticed when it is read, and not before."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints.arrays import same
from tests.checkpoints.torch_writer import archive, save, state_archive, storage, tensor
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError

NUMBERS = np.arange(24, dtype=np.float32)
ONE = {"0": NUMBERS.tobytes()}


def test_checksum_of_the_pickle(tmp_path: Path) -> None:
    data = state_archive({"name": NUMBERS})
    save(tmp_path, data.replace(b"X\x04\x00\x00\x00name", b"X\x04\x00\x00\x00game"))
    with pytest.raises(CorruptFileError, match=r"is corrupt: the checksum of 'archive/data.pkl' differs. Download"):
        open_checkpoint(tmp_path)


def test_checksums_of_storages(tmp_path: Path) -> None:
    value = {
        "broken": tensor(storage("0", 24), (24,), (1,)),
        "part": tensor(storage("0", 24), (2,), (1,)),
        "whole": tensor(storage("1", 24), (24,), (1,)),
    }
    data = bytearray(archive(value, {"0": NUMBERS.tobytes(), "1": (NUMBERS + 1).tobytes()}))
    data[data.index(NUMBERS.tobytes()) + 95] ^= 1
    message = r"pytorch_model.bin' is corrupt: the checksum of 'archive/data/0' differs. Download it again"
    with open_checkpoint(save(tmp_path, bytes(data))) as checkpoint:  # only names are read here
        for name in ("broken", "part", "broken"):
            with pytest.raises(CorruptFileError, match=message):
                checkpoint.read(name)
        assert same(checkpoint.read("whole"), NUMBERS + 1)


def test_a_storage_is_checked_once_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.checkpoints.mapped_files._CHECKED_BYTES", 40)
    value = {"a": tensor(storage("0", 24), (4, 6), (6, 1)), "b": tensor(storage("0", 24), (6, 4), (1, 6))}
    with open_checkpoint(save(tmp_path, archive(value, ONE))) as checkpoint:
        assert same(checkpoint.read("a"), NUMBERS.reshape(4, 6))
        monkeypatch.setattr("tfxlm.checkpoints.mapped_files.zlib", None)
        assert same(checkpoint.read("b"), np.ascontiguousarray(NUMBERS.reshape(4, 6).T))


def test_a_checksum_of_zero_is_none(tmp_path: Path) -> None:
    data = bytearray(archive({"a": tensor(storage("0", 24), (24,), (1,))}, ONE))
    crc = zlib.crc32(NUMBERS.tobytes()).to_bytes(4, "little")
    assert data.count(crc) == 2  # beside the numbers and in the directory at the end
    save(tmp_path, bytes(data).replace(crc, bytes(4)))
    with open_checkpoint(tmp_path) as checkpoint:
        assert same(checkpoint.read("a"), NUMBERS)
