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
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests.checkpoints.torch_writer import state_archive
from tests.models.battery import random_inputs
from tfxlm import (
    TFXLMForMultipleChoice,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
    XLMConfig,
)
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
before, peak, done = status("RssAnon"), 0.0, False

def watch():
    global peak
    while not done:
        peak = max(peak, status("RssAnon"))
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
model = TFXLMModel.from_pretrained(sys.argv[1])
done = True
thread.join()
size = sum(weight.numpy().nbytes for weight in model.weights) / 2**20
print(f"{(max(peak, status('RssAnon')) - before) / size:.3f}")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
def test_loading_holds_one_copy_in_memory(tmp_path: Path, base: TFXLMModel) -> None:
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
        tensors.append(Lazy(name, shape, np.dtype("float32"), lambda shape=shape: np.ones(shape, np.float32)))
    write_checkpoint(tmp_path / "large", tensors)
    size = (tmp_path / "large" / "model.safetensors").stat().st_size
    assert size > 100e6
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "small")],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout) <= 1.3


# Options that scripts for transformers give


def test_options_without_effect_and_names_of_old(folder: Path, classifier: Any) -> None:
    load = TFXLMForSequenceClassification.from_pretrained
    model = load(
        pretrained_model_name_or_path=folder, from_pt=True, low_cpu_mem_usage=True, trust_remote_code=True, mirror="x",
        resume_download=True, proxies=None, use_auth_token=False, force_download=False, cache_dir=None, revision="main",
        attn_implementation="eager", device_map="auto", quantization_config=None, load_in_8bit=False, name="mine",
    )  # fmt: skip
    assert same_weights(model, classifier) and model.name == "mine" and model.name_or_path == str(folder)
    assert XLMConfig.from_pretrained(folder, finetuning_task="mnli", use_auth_token="x").finetuning_task == "mnli"


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"quantization_config": {"bits": 8}}, r'quantization_config=.*call model.quantize\("int8"\)'),
        ({"load_in_8bit": True}, r"load_in_8bit=True is not something .*Load the model without it"),
        ({"from_tf": True}, r"from_tf=True .*tf_model.h5.*save them from the PyTorch class"),
        ({"from_flax": True}, "from_flax=True .*Flax files are not read"),
        ({"attn_implementation": "flash_attention_2"}, "There is one implementation of attention"),
        ({"proxies": {"https": "x"}}, "Set the environment variable HTTPS_PROXY instead"),
        ({"state_dict": {"a": np.zeros(2)}}, "state_dict=.*call set_weights"),
        ({"tf_to_pt_weight_rename": print}, "Weight names are those of the PyTorch classes"),
        ({"device_map": "balanced"}, r'device_map=\'balanced\' .*for example "auto", "cpu" or "cuda:0"'),
        ({"device_map": {"transformer": 0, "pred_layer": "cpu"}}, "A model is on one device here"),
        ({"device_map": "cuda:3"}, r"There is no device 'gpu:3' here\. There are: cpu:0"),
        ({"device_map": 5}, r"There is no device 'gpu:5' here"),
        ({"token": "a", "use_auth_token": "b"}, "token and use_auth_token are one option"),
    ],
)
def test_options_that_would_mislead_are_refused(folder: Path, options: dict[str, Any], way_out: str) -> None:
    with pytest.raises(ArgumentError, match=way_out):
        TFXLMForSequenceClassification.from_pretrained(folder, **options)


def test_misspelt_options(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no field 'num_label'\. Did you mean 'num_labels'"):
        TFXLMForSequenceClassification.from_pretrained(folder, num_label=3)


def test_a_report_is_loading_information(folder: Path, base: TFXLMModel, tmp_path: Path) -> None:
    _, info = TFXLMForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert dict(info) == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    _, info = TFXLMModel.from_pretrained(folder, output_loading_info=True)
    head = ["sequence_summary.summary.weight", "sequence_summary.summary.bias"]
    assert sorted(info["unexpected_keys"]) == sorted(head) and info["missing_keys"] == []
    base.save_pretrained(tmp_path)
    _, info = TFXLMForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == head and "missing_keys" in info and len(info) == 3
    _, info = TFXLMForSequenceClassification.from_pretrained(
        folder, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert info["mismatched_keys"] == [(head[0], (3, 16), (5, 16)), (head[1], (3,), (5,))]
    assert info["missing_keys"] == [] and len(info.new) == 2
    with pytest.raises(KeyError, match="error_msgs"):
        info["error_msgs"]


@pytest.mark.parametrize("size", ["5GB", 3000])
def test_variants_and_formats(base: TFXLMModel, classifier: Any, size: Any, tmp_path: Path) -> None:
    base.save_pretrained(tmp_path, max_shard_size=size)
    index = tmp_path / "model.safetensors.index.json"
    names = {}
    for path in sorted(tmp_path.glob("model*.safetensors")):
        names[path.name] = path.name.replace("model", "model.fp16", 1)
        path.rename(tmp_path / names[path.name])
    if index.exists():
        text = index.read_text()
        for old, new in names.items():
            text = text.replace(old, new)
        (tmp_path / "model.safetensors.index.fp16.json").write_text(text)
        index.unlink()
    assert (len(names) > 1) == (size == 3000)
    with pytest.raises(CheckpointNotFoundError, match=r"holds no weights: expected one of model\.safetensors, "):
        TFXLMModel.from_pretrained(tmp_path)
    assert same_weights(TFXLMModel.from_pretrained(tmp_path, variant="fp16"), base)
    with pytest.raises(
        CheckpointNotFoundError, match=r"expected one of pytorch_model\.fp16\.bin, pytorch_model\.bin\.ind"
    ):
        TFXLMModel.from_pretrained(tmp_path, variant="fp16", use_safetensors=False)


def test_choice_of_the_format(base: TFXLMModel, tmp_path: Path) -> None:
    base.save_pretrained(tmp_path)
    tensors = {name: array * 2 for name, array in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "pytorch_model.bin").write_bytes(state_archive(tensors))
    for choice in (None, True):
        assert same_weights(TFXLMModel.from_pretrained(tmp_path, use_safetensors=choice), base)
    doubled = TFXLMModel.from_pretrained(tmp_path, use_safetensors=False)
    for path, weight in weights_by_path(doubled).items():
        np.testing.assert_array_equal(weight.numpy(), weights_by_path(base)[path].numpy() * 2)


def test_device(folder: Path) -> None:
    for device_map in ("cpu", {"": "cpu"}, "cpu:0", "/CPU:0", "/device:CPU:0"):
        model = TFXLMForSequenceClassification.from_pretrained(folder, device_map=device_map)
        assert {weight.value.device[-5:] for weight in model.weights} == {"CPU:0"}


def test_dtypes_of_other_libraries(folder: Path) -> None:
    for dtype in (tf.float16, np.float16, np.dtype("float16"), "float16"):
        assert TFXLMModel.from_pretrained(folder, torch_dtype=dtype).variable_dtype == "float16"


def test_positional_arguments_of_a_class_of_ones_own(folder: Path, classifier: Any) -> None:
    class Named(TFXLMForSequenceClassification):
        """A subclass with an argument of its own."""

        def __init__(self, config: XLMConfig, word: str, **kwargs: Any) -> None:
            super().__init__(config, **kwargs)
            self.word = word

    model = Named.from_pretrained(folder, "hello", output_attentions=True)
    assert model.word == "hello" and model.config.output_attentions and same_weights(model, classifier)
    with pytest.raises(TypeError, match="positional argument"):
        TFXLMForSequenceClassification.from_pretrained(folder, "hello")


# Saving


def test_options_of_saving_that_are_refused(base: TFXLMModel, tmp_path: Path) -> None:
    for options, way_out in (
        ({"safe_serialization": False}, "tf_model.h5 or pytorch_model.bin, which are not written"),
        ({"signatures": {}}, "tfxlm.export_model makes its own"),
        ({"token": "a", "use_auth_token": "b"}, "one option"),
        ({"state_dict": {}}, "save_pretrained does not take state_dict"),
    ):
        with pytest.raises(ArgumentError, match=way_out):
            base.save_pretrained(tmp_path / "new", **options)
    with pytest.raises(ArgumentError, match=r"save_pretrained\(folder, push_to_hub=True, repo_id='org/x'\)"):
        base.push_to_hub("org/x", use_temp_dir=False)
    assert not (tmp_path / "new").exists()


def test_uploads(base: TFXLMModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def upload(folder: Path, *, names: list[str], **options: Any) -> str:
        files = sorted(path.name for name in names for path in Path(folder).glob(name))
        calls.append((files, {name: value for name, value in options.items() if value}))
        return "https://the.commit"

    monkeypatch.setattr("tfxlm.models.storing.upload_folder", upload)
    files = ["config.json", "model.safetensors"]
    assert base.push_to_hub("org/x", commit_message="New", private=True, use_auth_token="t") == "https://the.commit"
    assert calls.pop() == (files, {"repo_id": "org/x", "commit_message": "New", "private": True, "token": "t"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("stays")
    base.save_pretrained(tmp_path / "mine")
    assert not calls
    base.save_pretrained(tmp_path / "mine", push_to_hub=True, token="t", create_pr=True)
    assert calls.pop() == (files, {"repo_id": "mine", "token": "t", "create_pr": True})
    base.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="org/y", revision="dev", max_shard_size=3000)
    (names, options) = calls.pop()
    assert options == {"repo_id": "org/y", "revision": "dev"} and "model.safetensors.index.json" in names
    assert len(names) > 4 and "notes.txt" not in names


def test_saved_model(classifier: Any, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path, saved_model=True, version=3)
    assert (tmp_path / "saved_model" / "3" / "saved_model.pb").exists()
    assert same_weights(TFXLMForSequenceClassification.from_pretrained(tmp_path), classifier)


def test_lora_is_merged_and_quantized_models_are_refused(folder: Path, tmp_path: Path) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder)
    value = model.transformer.encoder.blocks[0].attention.value
    value.enable_lora(2)
    model.get_input_embeddings().enable_lora(2)
    for weight in model.trainable_weights:
        if weight.name.startswith("lora_"):
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    inputs = random_inputs(model.config)
    model.save_pretrained(tmp_path / "merged")
    again, report = TFXLMForSequenceClassification.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(dict(report).values())
    np.testing.assert_allclose(again(inputs).logits, model(inputs).logits, atol=1e-5)
    model = TFXLMForSequenceClassification.from_pretrained(folder)
    model.transformer.encoder.blocks[1].feed_forward.output_dense.quantize("int8")
    with pytest.raises(InputError, match=r"is quantized, and checkpoints hold plain weights\. Save the model before"):
        model.save_pretrained(tmp_path / "quantized")
    assert not (tmp_path / "quantized").exists()


# What a model says of itself


def test_a_model_says_what_it_is(classifier: Any, language_model: Any) -> None:
    assert classifier.main_input_name == "input_ids" and classifier.framework == "tf"
    tables = (37 + 20 + 2) * 16
    assert classifier.num_parameters() - classifier.num_parameters(exclude_embeddings=True) == tables
    frozen = TFXLMModel(classifier.config)
    frozen.get_input_embeddings().trainable = False
    assert frozen.num_parameters() - frozen.num_parameters(only_trainable=True) == 37 * 16
    inputs = classifier.dummy_inputs
    assert set(inputs) == {"input_ids", "attention_mask", "langs"} and classifier(inputs).logits.shape == (3, 3)
    chooser = TFXLMForMultipleChoice(classifier.config.replace(n_langs=1, lang2id={}, id2lang={}))
    assert set(chooser.dummy_inputs) == {"input_ids"} and chooser(chooser.dummy_inputs).logits.shape == (2, 2)


def test_compile_forgets_what_it_was_given_before(folder: Path, tmp_path: Path) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(folder)
    inputs, labels = random_inputs(model.config), np.array([0, 2, 1])
    own = float(model(inputs, labels=labels).loss)
    for loss in ("passthrough", "auto", "auto_with_warning", None):
        model.compile("sgd", loss=keras.losses.MeanSquaredError(), metrics=["accuracy"])
        model.compile("sgd", loss=loss)
        results = model.evaluate(inputs, labels, verbose=0, return_dict=True)
        assert set(results) == {"loss"} and abs(results["loss"] - own) < 1e-5
    model.fit(inputs, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.compiled and again.optimizer.iterations == 1
    assert set(again.fit(inputs, labels, verbose=0).history) == {"loss"}
