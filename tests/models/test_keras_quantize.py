"""`quantize("int8")` of every class: outputs, files, LoRA on top, and what checkpoints cannot hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.cases import BY_NAME, LANGUAGE_MODELS, Case
from tests.models.test_keras_lora import adaptable
from tests.models.test_keras_saving import assert_same, fit
from tfxlm.errors import InputError


def quantized(case: Case, **changes: Any) -> Any:
    model = case.model(**changes)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*does not have a `quantize` method")
        model.quantize("int8")
    return model


def cosine(left: Any, right: Any) -> float:
    left, right = (np.asarray(value, np.float64).ravel() for value in (left, right))
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def test_quantized_models(case: Case, tmp_path: Path) -> None:
    inputs, labels = case.data()
    x = inputs if case.loss_function else inputs | labels
    expected = case.model()(x)
    model = quantized(case)
    assert all(layer.quantization_mode == "int8" for layer in adaptable(model))
    assert {weight.dtype for weight in model.weights if weight.name in ("kernel", "embeddings")} == {"int8"}
    outputs = model(x)
    for name in case.targets.values():
        assert cosine(outputs[name], expected[name]) > 0.999
    # Padding removal changes nothing but the rounding.
    model.base_model.remove_padding = False
    padded = model(x)
    model.base_model.remove_padding = True
    real = inputs["attention_mask"].reshape(-1, 6) == 1
    for name in case.targets.values():
        left, right = np.asarray(padded[name]), np.asarray(outputs[name])
        of_tokens = left.shape[:2] == real.shape
        np.testing.assert_allclose(*(value[real] if of_tokens else value for value in (left, right)), atol=1e-4)
    # Files.
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name, value in outputs.items():
        np.testing.assert_array_equal(again(x)[name], value)
    with pytest.raises(InputError, match=r"is quantized, and checkpoints hold plain weights\. .*model\.save"):
        model.save_pretrained(tmp_path / "checkpoint")


@pytest.mark.parametrize("case", [*LANGUAGE_MODELS, BY_NAME["TFXLMForQuestionAnswering"]], ids=str)
def test_lora_on_top(case: Case, tmp_path: Path) -> None:
    """A quantized body with LoRA learns, and goes on from a file as if there had been none."""
    model = quantized(case)
    model.enable_lora(2)
    case.compiled(keras.optimizers.Adam(1e-2), model=model, run_eagerly=case.is_eager)
    losses = fit(case, model, 3)
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(again, model)
    assert fit(case, again, 1) == fit(case, model, 1)
    assert_same(again, model)


def test_filters_and_precision(tmp_path: Path) -> None:
    """Only layers that match are quantized, in bfloat16 too, and a file knows which."""
    case = BY_NAME["TFXLMForTokenClassification"]
    model, (inputs, _) = case.model(dtype="mixed_bfloat16"), case.data()
    expected = model(inputs).logits
    model.quantize("int8", filters="intermediate")
    assert [layer.name for layer in adaptable(model) if layer.quantization_mode] == ["intermediate"]
    assert cosine(model(inputs).logits, expected) > 0.999 and model(inputs).logits.dtype == "bfloat16"
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs).logits, model(inputs).logits)


@pytest.mark.parametrize("case", LANGUAGE_MODELS, ids=str)
def test_the_tied_table_is_quantized_at_both_ends(case: Case) -> None:
    """The output layer multiplies with the values that the words are looked up as."""
    model, (inputs, _) = quantized(case), case.data()
    hidden = model(inputs, output_hidden_states=True).hidden_states[-1]
    table = model.get_input_embeddings()
    values = np.asarray(table(np.arange(37)))
    transform = getattr(model, "lm_transform", np.asarray)
    expected = np.asarray(transform(hidden)) @ values.T + np.asarray(model.get_bias()["bias"])
    real = inputs["attention_mask"] == 1
    np.testing.assert_allclose(np.asarray(model(inputs).logits)[real], expected[real], atol=1e-4)
    np.testing.assert_array_equal(table.embeddings, values)
