"""Checkpoints written anew, and reading into arrays of one's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import one_of_each, random_array, same
from tests.checkpoints.torch_writer import archive, save, state_archive, storage, tensor
from tfxlm import rewrite_checkpoint
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, InputError, OutputExistsError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def shifted(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Writes a file whose header has a length that aligns nothing to 64 bytes."""
    folder.mkdir(exist_ok=True)
    for extra in range(0, 64, 8):
        safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt", "x": "y" * extra})
        start = 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
        if start % 64:
            break
    assert start % 64
    return folder


def test_names_values_and_other_files_stay(tmp_path: Path) -> None:
    arrays = one_of_each() | {"large": random_array((100, 64)), "larger": random_array((64, 100), "bfloat16")}
    source = shifted(tmp_path / "old", arrays)
    (source / "config.json").write_text('{"model_type": "xlm", "torch_dtype": "float32"}')
    (source / "vocab.json").write_text("{}")
    (source / "tf_model.h5").write_text("weights of another kind")
    (path,) = rewrite_checkpoint(source, tmp_path / "new")
    assert sorted(os.listdir(tmp_path / "new")) == ["config.json", "model.safetensors", "vocab.json"]
    assert (tmp_path / "new" / "config.json").read_text() == (source / "config.json").read_text()
    read = safetensors.numpy.load_file(path)
    assert read.keys() == arrays.keys() and all(same(read[name], array) for name, array in arrays.items())
    for folder, is_aligned in ((source, False), (tmp_path / "new", True)):
        with open_checkpoint(folder) as checkpoint:
            assert (checkpoint.view("large", 64) is not None) == is_aligned
            assert (checkpoint.view("larger", 64) is not None) == is_aligned


def test_another_dtype(tmp_path: Path) -> None:
    floats = {name: np.random.default_rng(0).normal(size=(70, 9)).astype(name) for name in ("float32", "float16")}
    arrays = {**floats, "ids": random_array((5,), "int64"), "number": np.array(1 / 3, np.float32)}
    source = shifted(tmp_path / "old", arrays)
    (source / "config.json").write_text('{"dtype": "float32", "vocab_size": 3}')
    paths = rewrite_checkpoint(source, tmp_path / "new", dtype="bfloat16", max_shard_size=2000)
    assert len(paths) > 2
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {"dtype": "bfloat16", "vocab_size": 3}
    with open_checkpoint(tmp_path / "new") as checkpoint:
        for name, array in arrays.items():
            expected = array if name == "ids" else array.astype(BFLOAT16)
            assert same(checkpoint.read(name), expected), name


def test_files_of_torch_save(tmp_path: Path) -> None:
    arrays = {"a": random_array((6, 5)), "b": random_array((3,), "int64")}
    (tmp_path / "pytorch_model.bin").write_bytes(state_archive(arrays))
    rewrite_checkpoint(tmp_path, tmp_path)
    assert all(same(safetensors.numpy.load_file(tmp_path / "model.safetensors")[name], arrays[name]) for name in arrays)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dtype must be one of float64, .*got 'int8'"):
        rewrite_checkpoint(tmp_path, tmp_path / "new", dtype="int8")
    with pytest.raises(CheckpointNotFoundError, match="holds no weights"):
        rewrite_checkpoint(tmp_path, tmp_path / "new")
    shifted(tmp_path, {"a": random_array((4,))})
    (tmp_path / "file").touch()
    with pytest.raises(OutputExistsError, match="is a file"):
        rewrite_checkpoint(tmp_path, tmp_path / "file")
    with pytest.raises(InputError, match="max_shard_size should be a positive number"):
        rewrite_checkpoint(tmp_path, tmp_path / "new", max_shard_size="many")
    assert not (tmp_path / "new").exists()


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
