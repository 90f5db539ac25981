"""Changes of a model's vocabulary, embeddings and heads: what stays, what is new, and what no longer fits."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.battery import check_model, check_same, perturb, random_inputs
from tests.models.conftest import CONFIG
from tfxlm import (
    TFPreTrainedModel,
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
)
from tfxlm.errors import ConfigError, InputError
from tfxlm.models.loading import weights_by_path

CLASSES = [
    TFXLMModel,
    TFXLMWithLMHeadModel,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForQuestionAnswering,
]


def made(cls: type[TFPreTrainedModel], **changes: Any) -> Any:
    labels = {} if cls is not TFXLMForQuestionAnsweringSimple else {"num_labels": 2}
    return perturb(cls(CONFIG.replace(**labels, **changes)))


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {path: weight.numpy() for path, weight in weights_by_path(model).items()}


def word_table(model: Any) -> np.ndarray:
    return model.get_input_embeddings().embeddings.numpy()


def round_trips(model: Any, folder: Path, inputs: Any) -> None:
    """Both ways of saving give the same answers."""
    expected = model(inputs)
    model.save_pretrained(folder / "checkpoint")
    check_same(type(model).from_pretrained(folder / "checkpoint")(inputs), expected)
    model.save(folder / "model.keras")
    check_same(keras.saving.load_model(folder / "model.keras")(inputs), expected)


# The vocabulary


@pytest.mark.parametrize("cls", [*CLASSES, TFXLMForMultipleChoice])
@pytest.mark.parametrize("size", [50, 30])
def test_rows_that_stay_are_the_same_bits(cls: Any, size: int) -> None:
    model = made(cls)
    before = arrays(model)
    order = list(before)
    table = model.resize_token_embeddings(size)
    assert table is model.get_input_embeddings() and table.input_dim == size
    assert model.config.vocab_size == model.transformer.config.vocab_size == size
    after = arrays(model)
    assert list(after) == order and [weight.path for weight in model.trainable_weights]
    kept = min(size, 37)
    changed = {"transformer/embeddings/word/embeddings", "pred_layer/bias"} & set(after)
    for path, value in after.items():
        if path in changed:
            assert len(value) == size
            np.testing.assert_array_equal(value[:kept], before[path][:kept])
        else:
            np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("cls", CLASSES)
def test_a_resized_model_is_a_model(cls: Any, tmp_path: Path) -> None:
    model = made(cls)
    inputs = random_inputs(model.config)
    before = model(inputs)
    model.resize_token_embeddings(60)
    after = model(inputs)
    if cls is TFXLMWithLMHeadModel:
        assert after.logits.shape[-1] == 60
        after["logits"] = after.logits[..., :37]
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-6)
    inputs["input_ids"][:, 0] = 59
    round_trips(model, tmp_path, inputs)
    with pytest.raises(InputError, match=r"input_ids must be in \[0, vocab_size = 60\)"):
        model(np.array([[60]]), langs=np.array([[0]]))


def test_a_resized_model_passes_the_battery(tmp_path: Path) -> None:
    class Resized(TFXLMWithLMHeadModel):
        """Made by resizing, and otherwise its parent."""

        def make_layers(self, config: Any) -> None:
            super().make_layers(config.replace(vocab_size=config.vocab_size + 9))

        def build(self, input_shape: Any = None) -> None:
            super().build(input_shape)
            self.resize_token_embeddings(self.config.vocab_size)

    # `make_layers` was given more words than the configuration has: the model shrinks when it is built.
    Resized._config = CONFIG
    model = made(TFXLMWithLMHeadModel, vocab_size=46)
    model.resize_token_embeddings(37)
    assert arrays(model).keys() == arrays(made(TFXLMWithLMHeadModel)).keys()
    check_model(TFXLMWithLMHeadModel, model.config, tmp_path)
