"""The options of `from_pretrained` and `save_pretrained`, and what a model says of itself, as scripts use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tests.checkpoints.torch_writer import state_archive
from tests.models.battery import random_inputs
from tests.models.test_loading import same_weights
from tfxlm import (
    TFXLMForMultipleChoice,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMRobertaModel,
    XLMConfig,
    XLMRobertaConfig,
)
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, ConfigError, InputError
from tfxlm.models.loading import weights_by_path


@pytest.fixture(scope="module")
def folder(classifier: TFXLMForSequenceClassification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    classifier.save_pretrained(folder)
    return folder


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
    with pytest.raises(CheckpointNotFoundError, match=r"expected one of pytorch_model\.fp16\.bin, "):
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
    with pytest.raises(ArgumentError, match=r"does not take 2 arguments by position\. It takes: config, dtype, name"):
        TFXLMForSequenceClassification.from_pretrained(folder, "hello")


# Saving


def test_a_function_as_activation(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = XLMRobertaConfig(vocab_size=30, **shape, hidden_act=lambda x: keras.ops.relu(x))
    model, ids = TFXLMRobertaModel(config), np.array([[0, 5, 6, 2]])
    with pytest.raises(ConfigError, match=r"cannot hold hidden_act=<function .*save its weights alone \(model\.save_w"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "whole.keras").write_bytes(b"the file of another model")
    with pytest.raises(ConfigError, match=r"cannot hold hidden_act=<function"):
        model.save(tmp_path / "whole.keras")
    assert (tmp_path / "whole.keras").read_bytes() == b"the file of another model"
    model.save_weights(tmp_path / "own.weights.h5")
    again, named = TFXLMRobertaModel(config), TFXLMRobertaModel(config.replace(hidden_act="relu"))
    for other in (again, named):
        other.load_weights(tmp_path / "own.weights.h5")
        np.testing.assert_array_equal(other(ids).last_hidden_state, model(ids).last_hidden_state)


def test_options_of_saving_that_are_refused(base: TFXLMModel, tmp_path: Path) -> None:
    for options, way_out in (
        ({"safe_serialization": False}, "tf_model.h5 or pytorch_model.bin, which are not written"),
        ({"signatures": {}}, "tfxlm.export_model makes its own"),
        ({"token": "a", "use_auth_token": "b"}, "one option"),
        ({"create_pr": True, "revision": "dev"}, "opens a pull request to the default branch. Leave revision out"),
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


def test_plain_lists_with_an_axis_of_choices(config: XLMConfig) -> None:
    model = TFXLMForMultipleChoice(config)
    inputs = {name: np.asarray(value) for name, value in model.dummy_inputs.items()}
    expected = model(inputs).logits
    lists = {name: value.tolist() for name, value in inputs.items()}
    for outputs in (model(**lists), model(lists), model([lists["input_ids"], None, lists["langs"]])):
        np.testing.assert_array_equal(outputs.logits, expected)
