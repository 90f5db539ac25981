"""Answers that the PyTorch reference gave for a tiny XLM-RoBERTa and a tiny XLM-RoBERTa-XL (see make_golden.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.golden.test_golden import close
from tfxlm import TFXLMRobertaForMaskedLM, TFXLMRobertaXLForCausalLM

ROOT = Path(__file__).parent
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
ENCODER = ("encoder_hidden_states", "encoder_attention_mask")


def load(cls: Any, name: str) -> tuple[Any, Mapping[str, np.ndarray]]:
    return cls.from_pretrained(ROOT / name), dict(np.load(ROOT / name / "expected.npz"))


def check(model: Any, expected: Mapping[str, np.ndarray], inputs: dict[str, Any], variables: dict[str, Any]) -> None:
    """Compares the answers at real positions, the loss, and gradients, of which kernels are stored the other way."""
    real = expected["attention_mask"] == 1
    close(model(inputs).logits, expected["logits"], real)
    with tf.GradientTape() as tape:
        outputs = model(
            inputs, labels=expected["labels"], output_hidden_states=True, output_attentions=True, training=True
        )
    close(outputs.loss, expected["loss"])
    close(outputs.logits, expected["logits"], real)
    for index, states in enumerate(outputs.hidden_states):
        close(states, expected[f"hidden_states_{index}"], real)
    for kind in [kind for kind in ("attentions", "cross_attentions") if f"{kind}_0" in expected]:
        for index, weights in enumerate(outputs[kind]):
            close(np.moveaxis(weights, 1, 2), np.moveaxis(expected[f"{kind}_{index}"], 1, 2), real)
    gradients = tape.gradient(outputs.loss, [variable.value for variable in variables.values()])
    for name, gradient in zip(variables, gradients, strict=True):
        stored = expected[f"gradient {name}"]
        close(tf.convert_to_tensor(gradient) if "embeddings" in name else tf.transpose(gradient), stored)


def learned(model: Any) -> dict[str, Any]:
    """Variables of which the gradients are stored, by their names there."""
    body = model.roberta
    return {
        "roberta.embeddings.word_embeddings.weight": body.embeddings.tables["word"].embeddings,
        "roberta.encoder.layer.1.attention.self.query.weight": body.encoder.blocks[1].attention.query.kernel,
    }


def test_xlm_roberta() -> None:
    model, expected = load(TFXLMRobertaForMaskedLM, "xlm_roberta_tiny")
    check(model, expected, {name: expected[name] for name in INPUTS}, learned(model))


def test_xlm_roberta_xl_as_decoder() -> None:
    model, expected = load(TFXLMRobertaXLForCausalLM, "xlm_roberta_xl_tiny")
    key = model.roberta.encoder.blocks[1].cross_attention.key.kernel
    variables = learned(model) | {"roberta.encoder.layer.1.crossattention.self.key.weight": key}
    check(model, expected, {name: expected[name] for name in (*INPUTS, *ENCODER)}, variables)


@pytest.mark.parametrize("ends", [(7,), (2, 5, 7), (1, 2, 3, 4, 5, 6, 7)])
def test_xlm_roberta_xl_with_a_cache(ends: tuple[int, ...]) -> None:
    model, expected = load(TFXLMRobertaXLForCausalLM, "xlm_roberta_xl_tiny")
    encoder = {name: expected[name] for name in ENCODER}
    cache, start, parts = None, 0, []
    for end in ends:
        new = {name: expected[name][:, start:end] for name in INPUTS}
        outputs = model(new, past_key_values=cache, use_cache=True, **(encoder if start == 0 else {}))
        cache, start = outputs.past_key_values, end
        parts.append(np.asarray(outputs.logits))
    close(np.concatenate(parts, axis=1), expected["logits"], expected["attention_mask"] == 1)
