"""Checkpoints written anew."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import one_of_each, random_array, same, shifted
from tests.checkpoints.torch_writer import state_archive
from tests.example_files import CHECKPOINT
from tests.tokenizers.test_originals import write as write_original
from tfxlm import convert_checkpoint
from tfxlm.checkpoints import open_checkpoint
from tfxlm.conversion import COMPANIONS
from tfxlm.errors import (
    ArgumentError,
    CheckpointNotFoundError,
    ConfigError,
    InputError,
    OutputExistsError,
    UnsafeFileError,
)
from tfxlm.files import work_folder
from tfxlm.tokenizers.auto import TOKENIZER_CLASSES

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
    for value in ("hf", "nonsense"):
        with pytest.raises(ArgumentError, match=f"preprocessing='{value}' is for checkpoints of the original XLM, and"):
            convert_checkpoint(tmp_path, tmp_path / "new", preprocessing=value)
    for name, value in (("max_shard_size", "1GB"), ("preprocessing", "fair"), ("progress", print)):
        with pytest.raises(ArgumentError, match=f"{name} cannot be followed for the Keras file '.*new.keras', which"):
            convert_checkpoint(tmp_path, tmp_path / "new.keras", **{name: value})
    assert not (tmp_path / "new").exists()


def test_what_is_copied(tmp_path: Path) -> None:
    """The new folder may be published, so that nothing else gets into it that lies beside the weights."""
    source = shifted(tmp_path / "old", {"a": random_array((4,))})
    for name in (
        "README.md",
        "LICENSE",
        "vocab.json",
        "tokenizer.json",
        "id_rsa",
        ".netrc",
        "notes.txt",
        "secret.json",
    ):
        (source / name).write_text("{}")
    for given in (source, source / "model.safetensors"):
        written = convert_checkpoint(given, tmp_path / "new")
        assert [path.name for path in written] == [
            *("LICENSE", "README.md", "model.safetensors", "tokenizer.json", "vocab.json"),
        ]
        shutil.rmtree(tmp_path / "new")
    vocabularies = [choice for known in TOKENIZER_CLASSES.values() for choice in known.vocabulary_files]
    assert {name for choice in vocabularies for name in choice.values()} <= set(COMPANIONS)
    (tmp_path / "secret").write_text("secret")
    (source / "NOTICE").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="NOTICE' is a link that leads out of its folder"):
        convert_checkpoint(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_settings_come_before_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.conversion.write_checkpoint", lambda *_, **__: pytest.fail("weights were written"))
    with pytest.raises(ConfigError, match="n_layers must be a positive integer"):
        convert_checkpoint(write_original(tmp_path / "words"), tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["words"]


def test_keras_files_in_the_making(tmp_path: Path) -> None:
    for name in (".new.keras.0123456789ab.tmp", ".new.keras.mine.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").touch()
    (tmp_path / "new.keras").touch()
    with pytest.raises(OutputExistsError, match=r"new.keras' exists already"):
        convert_checkpoint(CHECKPOINT, tmp_path / "new.keras")
    (tmp_path / "new.keras").unlink()
    with work_folder(tmp_path / "new.keras") as folder:
        with pytest.raises(OutputExistsError, match="is being made by another process"):
            convert_checkpoint(CHECKPOINT, tmp_path / "new.keras")
        (folder / "new.keras").touch()
    assert sorted(os.listdir(tmp_path)) == [".new.keras.mine.tmp", "new.keras"]


def test_numbers_too_large_for_a_dtype(tmp_path: Path) -> None:
    shifted(tmp_path / "old", {"a": np.array([1.0, 1e6], np.float32), "b": np.array([np.inf, 2.0], np.float32)})
    with pytest.raises(InputError, match=r"Tensor 'a' has values up to 1e\+06, too large for float16.*bfloat16"):
        convert_checkpoint(tmp_path / "old", tmp_path / "new", dtype="float16")
    assert sorted(os.listdir(tmp_path)) == ["old"]
    for array in (np.array([-np.inf, 1e6], np.float32), np.array([1, 1e10], BFLOAT16)):
        shifted(tmp_path / "old", {"b": array})
        with pytest.raises(InputError, match=r"Tensor 'b' has values up to 1e\+.., too large for float16"):
            convert_checkpoint(tmp_path / "old", tmp_path / "new", dtype="float16")
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
