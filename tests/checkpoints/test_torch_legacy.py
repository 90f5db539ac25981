"""Files of torch.save before version 1.6, written without torch: what they hold, and what they may try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints.arrays import one_of_each, same
from tests.checkpoints.test_torch_files import memo_bomb
from tests.checkpoints.torch_writer import Call, Name, Persistent, Raw, emit, legacy, pickled, save, storage, tensor
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError, UnsafeFileError, UnsupportedFileError

MAGIC, FACTS = 119547037146038801333356, {"little_endian": True}
NUMBERS = np.arange(24, dtype=np.float32)


def written(value: Any, keys: Any = ("0",), data: bytes | None = None, protocol: Any = 1001) -> bytes:
    """A file with one storage of 24 numbers."""
    data = (24).to_bytes(8, "little") + NUMBERS.tobytes() if data is None else data
    return b"".join(map(pickled, (MAGIC, protocol, FACTS, value, list(keys)))) + data


def place(view: Any = None, size: int = 24, key: str = "0", kind: str = "FloatStorage") -> Persistent:
    return Persistent((*storage(key, size, kind).value, view))


def opened(tmp_path: Path, data: bytes) -> dict[str, np.ndarray]:
    with open_checkpoint(save(tmp_path, data)) as checkpoint:
        assert checkpoint.file_format == "torch.save before version 1.6"
        return {name: np.array(checkpoint.read(name)) for name in checkpoint}


@pytest.mark.parametrize("little_endian", [True, False])
def test_every_dtype(tmp_path: Path, little_endian: bool) -> None:
    """Numbers are little-endian in every file; what the file says of its machine does not count."""
    arrays = one_of_each()
    found = opened(tmp_path, legacy(arrays, little_endian=little_endian))
    assert found.keys() == arrays.keys()
    assert all(same(found[name], array) for name, array in arrays.items())


def test_shared_storages_and_views(tmp_path: Path) -> None:
    value = {
        "whole": tensor(place(), (4, 6), (6, 1)),
        "turned": tensor(place(), (6, 4), (1, 6)),
        "view": tensor(place(("v", 6, 12)), (12,), (1,)),
        "part of a view": tensor(place(("v", 6, 12)), (2,), (1,), 3),
    }
    found = opened(tmp_path, written(value))
    assert same(found["whole"], NUMBERS.reshape(4, 6))
    assert same(np.ascontiguousarray(found["turned"]), np.ascontiguousarray(NUMBERS.reshape(4, 6).T))
    assert same(found["view"], NUMBERS[6:18]) and same(found["part of a view"], NUMBERS[9:11])


WHOLE = {"a": tensor(place(), (24,), (1,))}


@pytest.mark.parametrize("protocol", [memo_bomb(), Raw(b"N" + b"\x85" * 100_000)], ids=["memo bomb", "deep"])
def test_versions_that_cannot_be_shown(tmp_path: Path, protocol: Raw) -> None:
    with pytest.raises(UnsupportedFileError, match="is in version of type tuple of the format"):
        opened(tmp_path, written(WHOLE, protocol=protocol))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (written(WHOLE, protocol=999), UnsupportedFileError, "is in version 999 of the format"),
        (written(WHOLE, keys=("1",)), CorruptFileError, "does not list the storages that its tensors are in"),
        (written(WHOLE, data=b""), CorruptFileError, "is truncated: storage '0' should end at byte"),
        (
            written(WHOLE, data=(23).to_bytes(8, "little") + NUMBERS.tobytes()),
            CorruptFileError,
            "says that storage '0' has 24 elements, and 23 where they are",
        ),
        (written({"a": tensor(place(("v", 20, 12)), (1,), (1,))}), CorruptFileError, "view of a storage leads out"),
        (written({"a": tensor(place(("v", "x", 1)), (1,), (1,))}), CorruptFileError, "is not what it should be"),
        (
            written({"a": tensor(place(), (1,), (1,)), "b": tensor(place(size=2), (1,), (1,))}),
            CorruptFileError,
            "storage '0' has two types or sizes",
        ),
        (written({"a": tensor(place(), (25,), (1,))}), CorruptFileError, "needs element 24 of a storage of 24"),
        (written({"a": tensor(place(), (1,), (1,), -1)}), CorruptFileError, "of a storage of 24"),
        (
            written(Persistent(("module", Name("torch.FloatStorage"), "file.py", "source"))),
            UnsupportedFileError,
            "holds a whole module with its source code",
        ),
        (written({"a": Call(Name("os.system"), ("touch executed",))}), UnsafeFileError, "names 'os.system'"),
        (written(WHOLE, keys=(Raw(emit(place())),)), CorruptFileError, "a storage where there should be none"),
    ],
)
def test_what_is_refused(
    data: bytes, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        opened(tmp_path / "model", data)
    assert not (tmp_path / "executed").exists()


def test_tape_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFileError, match=r"is a tape archive, as torch saved before version 0\.1\.10"):
        open_checkpoint(save(tmp_path, b"x" * 257 + b"ustar" + b"x" * 300))


def test_kinds_of_tensors_that_are_not_read(tmp_path: Path) -> None:
    value = {"a": Call(Name("torch._utils._rebuild_sparse_tensor"), (1, 2))}
    with pytest.raises(UnsupportedFileError, match="holds a sparse tensor, which is not read here"):
        open_checkpoint(save(tmp_path, written(value)))
