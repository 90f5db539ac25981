"""Loading checkpoints into models: what fits, what does not, and what memory it takes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfxlm import TFXLMForSequenceClassification, TFXLMModel, TFXLMWithLMHeadModel, XLMConfig
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, ConfigError, InputError, WeightMismatchError
from tfxlm.models.loading import weights_by_path


def same_weights(left: Any, right: Any) -> bool:
    others = weights_by_path(right)
    return all(np.array_equal(weight.numpy(), others[path].numpy()) for path, weight in weights_by_path(left).items())


@pytest.fixture(scope="module")
def folder(classifier: TFXLMForSequenceClassification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    classifier.save_pretrained(folder)
    return folder


def changed_copy(folder: Path, target: Path, change: Any) -> Path:
    target.mkdir()
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors")
    return target


def test_everything_that_does_not_fit_is_reported_together(folder: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        del tensors["transformer.attentions.1.q_lin.bias"]
        tensors["transformer.surprise.weight"] = np.zeros(3, np.float32)
        tensors["transformer.layer_norm1.0.weight"] = np.zeros(5, np.float32)

    with pytest.raises(WeightMismatchError) as error:
        TFXLMForSequenceClassification.from_pretrained(changed_copy(folder, tmp_path / "bad", change))
    message = str(error.value)
    assert "1 missing:\n  transformer.attentions.1.q_lin.bias" in message
    assert "1 unexpected:\n  transformer.surprise.weight" in message
    assert "transformer.layer_norm1.0.weight: expected (16,), found float32 (5,)" in message


def test_layers_that_the_configuration_lacks(folder: Path) -> None:
    with pytest.raises(WeightMismatchError, match=r"unexpected:\n(.*\n)*  transformer\.attentions\.1\."):
        TFXLMForSequenceClassification.from_pretrained(folder, n_layers=1)
    with pytest.raises(WeightMismatchError, match=r"missing:\n(.*\n)*  transformer\.attentions\.2\."):
        TFXLMForSequenceClassification.from_pretrained(folder, n_layers=3)


def test_new_head_is_announced(
    folder: Path, base: TFXLMModel, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    base.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="tfxlm"):
        model, report = TFXLMForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert "new, initialised freshly and in need of training" in caplog.text
    assert "sequence_summary/summary/kernel" in caplog.text
    assert report.new == ("sequence_summary/summary/kernel", "sequence_summary/summary/bias")
    kernel = model.sequence_summary.summary.kernel.numpy()
    assert 0.005 < kernel.std() < 0.05 and np.all(model.sequence_summary.summary.bias.numpy() == 0)
    assert same_weights(base, model)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="tfxlm.models"):
        TFXLMForSequenceClassification.from_pretrained(folder)
        assert not caplog.records
        TFXLMModel.from_pretrained(folder)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "2 unused:" in caplog.text and "sequence_summary.summary.weight" in caplog.text


def test_head_of_another_size(folder: Path, classifier: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WeightMismatchError, match=r"expected \(5, 16\), found float32 \(3, 16\)[\s\S]*ignore_mism"):
        TFXLMForSequenceClassification.from_pretrained(folder, num_labels=5)
    with caplog.at_level(logging.WARNING, logger="tfxlm"):
        model = TFXLMForSequenceClassification.from_pretrained(folder, num_labels=5, ignore_mismatched_sizes=True)
    assert "sequence_summary/summary/kernel" in caplog.text
    assert model.sequence_summary.summary.kernel.shape == (16, 5)
    assert model.config.id2label[4] == "LABEL_4"
    assert np.array_equal(
        model.transformer.embeddings.tables["word"].embeddings.numpy(),
        classifier.transformer.embeddings.tables["word"].embeddings.numpy(),
    )


def test_backbone_of_another_size_is_never_ignored(folder: Path) -> None:
    with pytest.raises(WeightMismatchError, match=r"transformer.embeddings.weight: expected \(40, 16\)"):
        TFXLMForSequenceClassification.from_pretrained(folder, vocab_size=40, ignore_mismatched_sizes=True)


@pytest.mark.parametrize(("dtype", "variables"), [("float16", "float16"), ("mixed_bfloat16", "float32")])
def test_dtype(folder: Path, classifier: Any, dtype: str, variables: str, tmp_path: Path) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder, dtype=dtype)
    assert {weight.dtype for weight in model.weights} == {variables}
    assert model.compute_dtype == dtype.removeprefix("mixed_")
    for path, weight in weights_by_path(classifier).items():
        expected = weight.numpy().astype(variables)
        assert np.array_equal(weights_by_path(model)[path].numpy(), expected), path
    model.save_pretrained(tmp_path)
    assert XLMConfig.from_pretrained(tmp_path).dtype == variables
    assert {array.dtype.name for array in load_file(tmp_path / "model.safetensors").values()} == {variables}


def test_names_of_the_dtype_argument(folder: Path) -> None:
    load = TFXLMForSequenceClassification.from_pretrained
    assert load(folder, torch_dtype="float16", from_pt=True).variable_dtype == "float16"
    assert load(folder, dtype="auto", config=XLMConfig.from_pretrained(folder, dtype="float16")).dtype == "float16"
    assert load(folder, torch_dtype="float16", dtype="float16").dtype == "float16"
    with pytest.raises(ArgumentError, match="dtype='float32' and torch_dtype='float16' are one argument"):
        load(folder, torch_dtype="float16", dtype="float32")
    with pytest.raises(ConfigError, match=r"dtype must be a floating point dtype .* got 'foo'"):
        load(folder, dtype="foo")


@pytest.mark.parametrize("name", [None, 5])
def test_names_that_are_none(name: Any) -> None:
    message = rf"needs a folder or the name of a hub repository, got {name}\. For a new model .* TFXLMModel\(config\)"
    with pytest.raises(InputError, match=message):
        TFXLMModel.from_pretrained(name)


def test_nothing_is_left_of_a_save_that_is_refused(base: TFXLMModel, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        base.save_pretrained(tmp_path / "new", max_shard_size="many")
    assert not (tmp_path / "new").exists()


def test_global_dtype_policy(folder: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = TFXLMModel.from_pretrained(folder)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.compute_dtype == "bfloat16" and model.transformer.compute_dtype == "bfloat16"


def test_configuration_given_in_place_of_the_stored_one(folder: Path, classifier: Any) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder, config=classifier.config, causal=True)
    assert model.config.causal and same_weights(model, classifier)
    assert TFXLMModel.from_pretrained(folder, config=folder).config.n_langs == 2
    with pytest.raises(ConfigError, match="TFXLMModel needs a XLMConfig"):
        TFXLMModel.from_pretrained(folder, config=keras)


def test_training_works_on_loaded_weights(folder: Path) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder)
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    ids = np.full((2, 3), 7)
    before = model.sequence_summary.summary.kernel.numpy()
    assert np.isfinite(model.train_on_batch({"input_ids": ids, "langs": ids * 0}, np.array([0, 1])))
    assert np.abs(model.sequence_summary.summary.kernel.numpy() - before).max() > 1e-4


def test_shards(language_model: TFXLMWithLMHeadModel, tmp_path: Path) -> None:
    language_model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    assert same_weights(TFXLMWithLMHeadModel.from_pretrained(tmp_path), language_model)


def test_untied_copy_of_the_word_table_is_read_once(language_model: Any, tmp_path: Path) -> None:
    language_model.save_pretrained(tmp_path / "tied")

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"]

    copy = changed_copy(tmp_path / "tied", tmp_path / "copied", change)
    assert same_weights(TFXLMWithLMHeadModel.from_pretrained(copy), language_model)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        TFXLMModel.from_pretrained(tmp_path / "absent")


MEASURE = """
import resource, sys, threading, time
import tensorflow as tf
from tfxlm import TFXLMModel

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024

TFXLMModel.from_pretrained(sys.argv[2])  # a small one: what starting up takes is not what loading takes
before, peak, done = status("VmRSS"), 0.0, False

def watch():
    global peak
    while not done:
        peak = max(peak, status("VmRSS"))
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
model = TFXLMModel.from_pretrained(sys.argv[1])
done = True
thread.join()
size = sum(weight.numpy().nbytes for weight in model.weights) / 2**20
print(f"{(max(peak, status('VmRSS')) - before) / size:.3f}")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_loading_holds_one_copy_in_memory(tmp_path: Path, base: TFXLMModel, stored: str) -> None:
    base.save_pretrained(tmp_path / "small")
    large = XLMConfig(vocab_size=16000, emb_dim=1024, n_heads=8, n_layers=2, max_position_embeddings=64)
    large.save_pretrained(tmp_path / "large")
    # The tensors are written one by one from their names and shapes: a model here would be a second large one.
    from tfxlm.checkpoints import Lazy, write_checkpoint

    tensors = []
    template = TFXLMModel(large.replace(vocab_size=10))
    for path, weight in weights_by_path(template).items():
        match = template.name_map.match_variable(path)
        shape = match.transform.shape(tuple(16000 if size == 10 else size for size in weight.shape))
        name = template.name_map.file_name(match.tensor, bare=True)
        dtype = np.dtype(stored)
        tensors.append(Lazy(name, shape, dtype, lambda shape=shape, dtype=dtype: np.ones(shape, dtype)))
    files = write_checkpoint(tmp_path / "large", tensors, max_shard_size="60MB")
    assert len(files) > 2 and sum(tensor.nbytes for tensor in tensors) > 30e6 * dtype.itemsize
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "small")],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    # Of the files nothing is resident, either.
    assert float(result.stdout) <= 1.2
