"""Forms of `compile` and of labels that scripts use: what Keras takes for one output, given to a class with several."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.battery import perturb, random_inputs
from tests.models.cases import CASES
from tests.models.families import XLM
from tfxlm import TFXLMForSequenceClassification, TFXLMForTokenClassification
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


def test_an_array_or_a_list_for_each_end(reader: Any, inputs: dict[str, np.ndarray]) -> None:
    """Two rows, where the axes of labels and of rows are as long."""
    reader.compile("sgd", run_eagerly=True)
    x = {name: value[:2] for name, value in inputs.items()}
    y = {name: value[:2] for name, value in POSITIONS.items()}
    expected = float(reader({**x, **y}).loss)
    starts, ends = (value.tolist() for value in y.values())
    columns = np.stack(list(y.values()), axis=1)
    for form in (y, tuple(y.values()), (starts, ends), [starts, ends], (y["start_positions"], ends), columns):
        assert reader.test_on_batch(x, form) == pytest.approx(expected, rel=1e-5)
        assert reader.evaluate(x, form, verbose=0) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"y has 4 arrays, but the model learns from \d: .* Give one array for each"):
        reader.test_on_batch(x, [[1, 2]] * 4)


def test_weights_in_lists(reader: Any, inputs: dict[str, np.ndarray]) -> None:
    """Of numbers, they are for all labels; of lists, for each its own."""
    reader.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    x = {name: value[:2] for name, value in inputs.items()}
    y = {name: np.array([2, 1]) for name in POSITIONS}
    outputs = reader({**x, **y})
    each = []
    for name in ("start", "end"):
        logits = np.asarray(outputs[f"{name}_logits"], np.float64)
        each.append(np.log(np.exp(logits).sum(-1)) - logits[[0, 1], [2, 1]])
    weights = np.array([[0.5, 3.0], [2.0, 0.25]])
    same, own = weights[0] * each, weights * each
    for form, losses in ((weights[0].tolist(), same), (tuple(weights[0]), same), (weights.tolist(), own)):
        assert reader.test_on_batch(x, y, sample_weight=form) == pytest.approx(losses.mean(), rel=1e-5)
        assert reader.evaluate(x, y, sample_weight=form, verbose=0) == pytest.approx(losses.mean(), rel=1e-5)


def test_numbers_of_numpy_in_a_list() -> None:
    inputs = random_inputs(XLM.small)
    model = perturb(TFXLMForSequenceClassification(XLM.small))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    labels, weights = np.array([0, 2, 1]), np.array([1, 0.5, 2], np.float32)
    expected = model.evaluate(inputs, labels, sample_weight=weights, verbose=0)
    logits = np.asarray(model(inputs).logits, np.float64)
    losses = weights * (np.log(np.exp(logits).sum(-1)) - logits[[0, 1, 2], labels])
    assert expected == pytest.approx(losses.mean(), rel=1e-5)
    result = model.evaluate(inputs, list(labels), sample_weight=list(weights), verbose=0)
    assert result == pytest.approx(expected, rel=1e-6)


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
