"""Checkpoints written anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import one_of_each, random_array, same, shifted
from tests.checkpoints.torch_writer import state_archive
from tfxlm import convert_checkpoint
from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, InputError, OutputExistsError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def test_names_values_and_other_files_stay(tmp_path: Path) -> None:
    arrays = one_of_each() | {"large": random_array((100, 64)), "larger": random_array((64, 100), "bfloat16")}
    source = shifted(tmp_path / "old", arrays)
    (source / "config.json").write_text('{"model_type": "xlm", "torch_dtype": "float32"}')
    (source / "vocab.json").write_text("{}")
    (source / "tf_model.h5").write_text("weights of another kind")
    written = convert_checkpoint(source, tmp_path / "new")
    assert sorted(path.name for path in written) == sorted(os.listdir(tmp_path / "new"))
    path = tmp_path / "new" / "model.safetensors"
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
    paths = convert_checkpoint(source, tmp_path / "new", dtype="bfloat16", max_shard_size=2000)
    assert len(paths) > 3
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == {"dtype": "bfloat16", "vocab_size": 3}
    with open_checkpoint(tmp_path / "new") as checkpoint:
        for name, array in arrays.items():
            expected = array if name == "ids" else array.astype(BFLOAT16)
            assert same(checkpoint.read(name), expected), name


def test_files_of_torch_save(tmp_path: Path) -> None:
    arrays = {"a": random_array((6, 5)), "b": random_array((3,), "int64")}
    (tmp_path / "pytorch_model.bin").write_bytes(state_archive(arrays))
    convert_checkpoint(tmp_path, tmp_path / "new")
    assert all(
        same(safetensors.numpy.load_file(tmp_path / "new" / "model.safetensors")[name], arrays[name]) for name in arrays
    )


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dtype must be one of float64, .*got 'int8'"):
        convert_checkpoint(tmp_path, tmp_path / "new", dtype="int8")
    with pytest.raises(CheckpointNotFoundError, match="holds no weights"):
        convert_checkpoint(tmp_path, tmp_path / "new")
    shifted(tmp_path, {"a": random_array((4,))})
    (tmp_path / "file").touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        convert_checkpoint(tmp_path, tmp_path / "file")
    with pytest.raises(ArgumentError, match="convert_checkpoint"):
        convert_checkpoint(tmp_path, tmp_path / "new", shard_size="5GB")
    with pytest.raises(InputError, match="max_shard_size should be a positive number"):
        convert_checkpoint(tmp_path, tmp_path / "new", max_shard_size="many")
    assert not (tmp_path / "new").exists()


def test_numbers_too_large_for_a_dtype(tmp_path: Path) -> None:
    shifted(tmp_path / "old", {"a": np.array([1.0, 1e6], np.float32), "b": np.array([np.inf, 2.0], np.float32)})
    with pytest.raises(InputError, match=r"Tensor 'a' has values up to 1e\+06, too large for float16.*bfloat16"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", dtype="float16")
    assert sorted(os.listdir(tmp_path)) == ["old"]
    shifted(tmp_path / "old", {"b": np.array([np.inf, 2.0], np.float32)})
    convert_checkpoint(tmp_path / "old", tmp_path / "new", dtype="float16")
    assert safetensors.numpy.load_file(tmp_path / "new" / "model.safetensors")["b"].tolist() == [np.inf, 2.0]


def test_progress(tmp_path: Path) -> None:
    arrays = {"a": random_array((1000, 30)), "b": random_array((7,)), "c": np.array(3.0, np.float32)}
    shifted(tmp_path / "old", arrays)
    seen: list[tuple[int, int]] = []
    convert_checkpoint(tmp_path / "old", tmp_path / "new", progress=lambda done, total: seen.append((done, total)))
    total = sum(array.nbytes for array in arrays.values())
    assert seen[-1] == (total, total) and [done for done, _ in seen] == sorted(done for done, _ in seen)
