"""Where dropout stands, and with which rate, in the classes of XLM-RoBERTa and XLM-RoBERTa-XL.

All other comparisons with the reference are without dropout, whose draws nothing can compare.
"""

from __future__ import annotations

from typing import Any

import keras
import pytest
import torch
import transformers

from tests.parity.classes import KINDS, ROBERTA
from tests.parity.reference import QUIET

# Our names of the reference's places.
PLACES = {
    "roberta.embeddings.dropout": ["roberta/embeddings.dropout"],
    "roberta.encoder.layer.1.attention.self.dropout": ["roberta/encoder/block_1/attention.dropout"],
    "roberta.encoder.layer.1.attention.output.dropout": ["roberta/encoder/block_1.attention_dropout"],
    "roberta.encoder.layer.1.crossattention.self.dropout": ["roberta/encoder/block_1/cross_attention.dropout"],
    "roberta.encoder.layer.1.crossattention.output.dropout": ["roberta/encoder/block_1.cross_attention_dropout"],
    "roberta.encoder.layer.1.output.dropout": ["roberta/encoder/block_1/feed_forward.dropout"],
    # One module that the reference applies twice.
    "classifier.dropout": ["sequence_summary.first_dropout", "sequence_summary.last_dropout"],
    "dropout": [".dropout"],
}
for _place in [place for place in PLACES if "layer.1" in place]:
    PLACES[_place.replace("layer.1", "layer.0")] = [ours.replace("block_1", "block_0") for ours in PLACES[_place]]

SHAPE: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "is_decoder": True,
    "add_cross_attention": True,
    "num_labels": 2,
}
RATES = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.3}

pytestmark = QUIET


def rates_of_reference(model: Any) -> dict[str, float]:
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    # The class without a head has no prefix.
    prefix = "" if hasattr(model, "roberta") else "roberta."
    return {ours: rate for name, rate in rates.items() for ours in PLACES[prefix + name]}


def rates_of_ours(model: Any) -> dict[str, float]:
    """The rates by the layer that has the dropout, and the attribute."""
    return {
        f"{layer.path.removeprefix(model.name).removeprefix('/')}.{attribute}": value.rate
        for layer in model._flatten_layers()
        for attribute, value in vars(layer).items()
        if isinstance(value, keras.layers.Dropout) and value.rate
    }


@pytest.mark.parametrize("rates", [RATES, {**RATES, "classifier_dropout": None}], ids=["own", "none for classifiers"])
@pytest.mark.parametrize("task", ROBERTA)
@pytest.mark.parametrize("stem", ["XLMRoberta", "XLMRobertaXL"])
def test_where_dropout_stands(stem: str, task: str, rates: dict[str, Any]) -> None:
    kind, options = KINDS[stem + task], {**SHAPE, **rates}
    expected = rates_of_reference(getattr(transformers, stem + task)(kind.family.config(**options)))
    assert rates_of_ours(kind.model(kind.model.config_class(**options))) == expected
    feed_forward = expected.get("roberta/encoder/block_1/feed_forward.dropout")
    assert feed_forward == (0.1 if stem == "XLMRoberta" else None)
    assert {0.1, 0.2} <= set(expected.values())
