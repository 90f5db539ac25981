"""Reading into arrays of one's own, and views."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.checkpoints.arrays import random_array, same, shifted
from tests.checkpoints.torch_writer import archive, save, storage, tensor
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError, InputError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_reading_into_arrays(tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(0).normal(size=(700, 900)).astype(BFLOAT16 if dtype == "bfloat16" else dtype)
    arrays = {"matrix": array, "row": array[:1], "column": array[:, :1].copy(), "vector": array[0], "one": array[0, 0]}
    shifted(tmp_path, {name: np.array(value) for name, value in arrays.items()} | {"none": array[:0]})
    with open_checkpoint(tmp_path) as checkpoint:
        for name, value in (arrays | {"none": array[:0]}).items():
            for target in (array.dtype, np.dtype(np.float32), BFLOAT16):
                straight, turned = np.empty(value.shape, target), np.empty(value.shape[::-1], target)
                checkpoint.read_into(name, straight)
                checkpoint.read_into(name, turned.T)
                assert np.array_equal(straight, np.asarray(value).astype(target)), (name, target)
                assert np.array_equal(turned.T, straight), (name, target)


def test_tensors_that_are_not_contiguous(tmp_path: Path) -> None:
    array = random_array((4, 6))
    value = {"plain": tensor(storage("0", 24), (4, 6), (6, 1)), "turned": tensor(storage("0", 24), (6, 4), (1, 6))}
    save(tmp_path, archive(value, {"0": array.tobytes()}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.view("turned", 1) is None and checkpoint.view("plain", 1) is not None
        for name, expected in (("turned", array.T), ("plain", array)):
            out = np.empty(expected.shape, np.float32)
            checkpoint.read_into(name, out)
            assert out.tobytes() == np.ascontiguousarray(expected).tobytes(), name
            assert np.concatenate([part.copy() for part in checkpoint.parts(name, 40)]).tobytes() == out.tobytes()


def test_views(tmp_path: Path) -> None:
    array = random_array((8, 8))
    shifted(tmp_path, {"a": array, "none": array[:0]})
    before = (tmp_path / "model.safetensors").read_bytes()
    with open_checkpoint(tmp_path, copy_on_write=True) as checkpoint:
        view = checkpoint.view("a", 8)
        assert view is not None and view.flags.writeable and checkpoint.view("none", 8) is None
        assert checkpoint.view("a", 1 << 20) is None
    assert same(view, array)  # the map lives as long as its views
    view[:] = 0
    assert (tmp_path / "model.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="is closed"):
        checkpoint.view("a", 8)
    with pytest.raises(InputError, match="is closed"):
        checkpoint.read_into("a", array.copy())


def test_a_file_that_gets_shorter(tmp_path: Path) -> None:
    shifted(tmp_path, {"a": random_array((100, 100))})
    with open_checkpoint(tmp_path) as checkpoint:
        os.truncate(tmp_path / "model.safetensors", 20_000)
        with pytest.raises(CorruptFileError, match=r"was shortened while it was read\. Leave the file alone"):
            checkpoint.read_into("a", np.empty((100, 100), np.float32))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    shifted(tmp_path, {"a": random_array((4,))})
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.safetensors").touch()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_checkpoint(tmp_path) as checkpoint:
            checkpoint.read_into("a", np.empty((4,), np.float32))
        with pytest.raises(CorruptFileError):
            open_checkpoint(tmp_path / "empty")
    del checkpoint
    assert len(os.listdir("/proc/self/fd")) == before
