"""Answers that the PyTorch reference gave for a tiny checkpoint (see make_golden.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfxlm import TFXLMForSequenceClassification, TFXLMWithLMHeadModel

FOLDER = Path(__file__).parent / "xlm_tiny"


@pytest.fixture(scope="module")
def expected() -> Mapping[str, np.ndarray]:
    return dict(np.load(FOLDER / "expected.npz"))


@pytest.fixture(scope="module")
def inputs(expected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: expected[name] for name in ("input_ids", "lengths", "langs")}


def close(ours: object, reference: np.ndarray, real: np.ndarray | None = None) -> None:
    left = np.asarray(ours)
    assert left.shape == reference.shape
    error = np.abs(left - reference) / np.maximum(1, np.abs(reference))
    assert np.max(error if real is None else error[real]) <= 2e-5


def test_language_model(expected: Mapping[str, np.ndarray], inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMWithLMHeadModel.from_pretrained(FOLDER / "language_model")
    real = np.arange(7) < inputs["lengths"][:, None]
    with tf.GradientTape() as tape:
        outputs = model(
            inputs | {"labels": expected["lm_labels"], "output_hidden_states": True, "output_attentions": True}
        )
    close(outputs.loss, expected["lm_loss"])
    close(outputs.logits, expected["lm_logits"], real)
    for index, states in enumerate(outputs.hidden_states):
        close(states, expected[f"hidden_states_{index}"], real)
    for index, weights in enumerate(outputs.attentions):
        close(np.moveaxis(weights, 1, 2), np.moveaxis(expected[f"attentions_{index}"], 1, 2), real)
    word = model.transformer.embeddings.tables["word"].embeddings
    query = model.transformer.encoder.blocks[1].attention.query.kernel
    word_gradient, query_gradient = tape.gradient(outputs.loss, [word.value, query.value])
    close(tf.convert_to_tensor(word_gradient), expected["gradient transformer.embeddings.weight"])
    close(tf.transpose(query_gradient), expected["gradient transformer.attentions.1.q_lin.weight"])


def test_classifier_from_a_bin_file(expected: Mapping[str, np.ndarray], inputs: dict[str, np.ndarray]) -> None:
    model = TFXLMForSequenceClassification.from_pretrained(FOLDER / "classifier")
    outputs = model(inputs, labels=expected["targets"])
    close(outputs.logits, expected["classifier_logits"])
    close(outputs.loss, expected["classifier_loss"])
    assert model.config.lang2id == {"de": 0, "en": 1, "fr": 2}
