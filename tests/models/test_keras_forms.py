"""Forms of `compile` and of labels that scripts use: what Keras takes for one output, given to a class with several."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.battery import perturb, random_inputs
from tests.models.cases import CASES
from tests.models.families import XLM
from tfxlm import TFXLMForTokenClassification
from tfxlm.errors import ConfigError, InputError

POSITIONS = {"start_positions": np.array([1, 0, 3]), "end_positions": np.array([2, 2, -100])}


@pytest.fixture(scope="module", params=[case for case in CASES if len(case.targets) > 1], ids=str)
def reader(request: pytest.FixtureRequest) -> Any:
    return request.param.model()


@pytest.fixture(scope="module")
def inputs(reader: Any) -> dict[str, np.ndarray]:
    return random_inputs(reader.config)


def accuracies(reader: Any, inputs: dict[str, np.ndarray]) -> dict[str, float]:
    outputs = reader({**inputs, **POSITIONS})
    hits = {
        name: np.asarray(outputs[f"{name}_logits"]).argmax(-1) == POSITIONS[f"{name}_positions"]
        for name in ("start", "end")
    }
    return {"start": hits["start"].mean(), "end": hits["end"][:2].mean()}


@pytest.mark.parametrize(
    "metrics",
    [
        "accuracy",
        ["accuracy"],
        ["accuracy", "accuracy"],
        [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        {"start_logits": ["accuracy"], "end_positions": "accuracy"},
    ],
    ids=["name", "list", "one each", "object", "dict"],
)
@pytest.mark.parametrize("option", ["metrics", "weighted_metrics"])
def test_metrics_of_both_ends(reader: Any, inputs: dict[str, np.ndarray], metrics: Any, option: str) -> None:
    reader.compile("sgd", run_eagerly=True, **{option: metrics})
    found = reader.evaluate(inputs, POSITIONS, verbose=0, return_dict=True)
    for name, expected in accuracies(reader, inputs).items():
        assert found[f"{name}_logits_accuracy"] == pytest.approx(expected)


def test_ways_to_ask_for_the_own_loss(reader: Any, inputs: dict[str, np.ndarray]) -> None:
    expected = float(reader({**inputs, **POSITIONS}).loss)
    for options in ({}, {"loss": "passthrough"}, {"loss": {"loss": lambda y_true, y_pred: y_pred}}):
        reader.compile("sgd", run_eagerly=True, **options)
        assert reader.evaluate(inputs, POSITIONS, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_both_ends_in_one_array(reader: Any, inputs: dict[str, np.ndarray]) -> None:
    reader.compile("sgd", run_eagerly=True)
    columns = np.stack(list(POSITIONS.values()), axis=1)
    expected = reader.evaluate(inputs, POSITIONS, verbose=0)
    assert reader.evaluate(inputs, columns, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_ids_as_numbers_with_a_point() -> None:
    inputs = random_inputs(XLM.small)
    model = perturb(TFXLMForTokenClassification(XLM.small))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, metrics=["accuracy"], run_eagerly=True)
    labels = np.where(inputs["attention_mask"] == 1, inputs["input_ids"] % 3, -100)
    expected = model.evaluate(inputs, labels, verbose=0)
    np.testing.assert_allclose(model.evaluate(inputs, labels.astype(np.float32), verbose=0), expected, rtol=1e-6)


def test_arguments_of_surgery_that_are_nothing_of_the_kind() -> None:
    model = TFXLMForTokenClassification(XLM.small)
    with pytest.raises(ConfigError, match=r"heads_to_prune must map layers to lists of heads, got \{0: 1\}"):
        model.prune_heads({0: 1})  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"word embeddings must have shape \(37, 16\), got \(2, 1\)"):
        model.set_input_embeddings([[1.0], [2.0]])
