"""Weights of rows, labels and classes, and labels that do not count, in losses and metrics of every class."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.cases import BY_NAME, CASES, IGNORED, ROWS, Arrays, Case, cross_entropy, sampled
from tests.models.test_keras_fit import Batches, by_output, dataset, generator, losses_of, plain
from tfxlm.errors import InputError

WEIGHT = np.array([1, 0, 2, 1, 0.5, 0, 3], np.float32)
CLASS_WEIGHT = {0: 0.25, 1: 3.0}
WITH_IDS = [case for case in CASES if not case.loss_function]
WITH_ONE_LABEL = [case for case in WITH_IDS if len(case.targets) == 1]
WITH_A_LABEL_A_ROW = [case for case in WITH_ONE_LABEL if case.cls.labels.rank == 1]
WITH_SEVERAL = [case for case in WITH_IDS if len(case.targets) > 1]


@pytest.fixture(scope="module")
def model(case: Case) -> Any:
    return case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)


def test_weights_of_rows(case: Case, model: Any) -> None:
    inputs, labels = case.data()
    outputs = case.outputs(model)
    whole, parts = case.loss(outputs, labels, WEIGHT), case.mean_of_batches(outputs, labels, 4, WEIGHT)
    for weight in (
        WEIGHT,
        WEIGHT[:, None],
        dict.fromkeys(labels, WEIGHT),
        dict.fromkeys(by_output(case, labels), WEIGHT),
    ):
        result = model.test_on_batch(inputs, plain(labels), sample_weight=weight)
        assert result == pytest.approx(whole, rel=1e-5)
    assert model.train_on_batch(inputs | labels, sample_weight=WEIGHT) == pytest.approx(whole, rel=1e-5)
    streams = (
        dataset(inputs, plain(labels), WEIGHT),
        Batches(inputs, labels, WEIGHT),
        generator(inputs, labels, WEIGHT),
    )
    for data in streams:
        steps = {"steps": 2} if data is streams[2] else {}
        assert model.evaluate(data, verbose=0, **steps) == pytest.approx(parts, rel=1e-5)
    history = model.fit(
        inputs, plain(labels), validation_data=(inputs, plain(labels), WEIGHT), batch_size=ROWS, verbose=0
    )
    assert history.history["val_loss"] == pytest.approx([whole], rel=1e-5)


def test_weights_of_rows_in_compiled_losses(case: Case) -> None:
    """Six rows, as long as they are many: what Keras would take for weights of positions."""
    model = case.model()
    inputs, labels, outputs = (first_rows(arrays, 6) for arrays in (*case.data(), case.outputs(model)))
    expected = case.compiled_loss(outputs, labels, WEIGHT[:6])
    case.compiled(keras.optimizers.SGD(0.0), model=model, loss=losses_of(case), run_eagerly=True)
    result = model.test_on_batch(inputs, plain(labels), sample_weight=WEIGHT[:6], return_dict=True)
    assert result["loss"] == pytest.approx(expected, rel=1e-5)


def first_rows(arrays: Arrays, rows: int) -> Arrays:
    return {name: value[:rows] for name, value in arrays.items()}


@pytest.mark.parametrize("case", sampled("weights of each label", WITH_SEVERAL), ids=str)
def test_weights_of_each_label(case: Case) -> None:
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)
    outputs = case.outputs(model)
    start, end = (cross_entropy(outputs[f"{what}_logits"], labels[f"{what}_positions"], weight)
                  for what, weight in (("start", WEIGHT), ("end", None)))  # fmt: skip
    rest = (
        case.loss(outputs, labels)
        - sum(cross_entropy(outputs[f"{what}_logits"], labels[f"{what}_positions"]) for what in ("start", "end")) / 2
    )
    for key in ("start_positions", "start_logits"):
        result = model.evaluate(inputs, labels, sample_weight={key: WEIGHT}, batch_size=ROWS, verbose=0)
        assert result == pytest.approx((start + end) / 2 + rest, rel=1e-5)
    with pytest.raises(InputError, match=r"class_weight needs a model with one kind of label.*one weight to each row"):
        model.fit(inputs, labels, class_weight=CLASS_WEIGHT, verbose=0)


@pytest.mark.parametrize("case", sampled("weights of classes", WITH_ONE_LABEL), ids=str)
def test_weights_of_classes(case: Case) -> None:
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.0), run_eagerly=True)
    ids, logits = labels["labels"], case.outputs(model)["logits"]
    weight = np.select([ids == 0, ids == 1], [0.25, 3.0], 1.0)
    own = case.pairs(logits, ids, weight)
    whole = weighted_cross_entropy(*own)
    sizes = ((slice(0, 4), 4), (slice(4, None), 3))
    parts = sum(size * weighted_cross_entropy(*(value[rows] for value in own)) for rows, size in sizes) / ROWS
    for data in ((inputs, ids), (inputs | labels,)):
        for loss, expected in ((losses_of(case), weighted_cross_entropy(logits, ids, weight)), (None, whole)):
            model.compile(keras.optimizers.SGD(0.0), loss=loss, run_eagerly=True)
            history = model.fit(*data, class_weight=CLASS_WEIGHT, batch_size=ROWS, verbose=0, shuffle=False).history
            assert history["loss"] == pytest.approx([expected], rel=1e-5)
        assert model.train_on_batch(*data, class_weight=CLASS_WEIGHT) == pytest.approx(whole, rel=1e-5)
        for stream in (dataset(*data) if len(data) > 1 else dataset(data[0]), Batches(*data), generator(*data)):
            history = model.fit(stream, class_weight=CLASS_WEIGHT, verbose=0).history
            assert history["loss"] == pytest.approx([parts], rel=1e-5)
    with pytest.raises(InputError, match=r"class_weight needs .* and no sample_weight beside it"):
        model.fit(inputs, ids, class_weight=CLASS_WEIGHT, sample_weight=WEIGHT, verbose=0)


def weighted_cross_entropy(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> float:
    counts = labels != IGNORED
    logits = logits.astype(np.float64)
    chosen = np.take_along_axis(logits, np.where(counts, labels, 0)[..., None], -1)[..., 0]
    return float(((np.log(np.exp(logits).sum(-1)) - chosen) * weight * counts).sum() / counts.sum())


@pytest.mark.parametrize("case", sampled("metrics", WITH_ONE_LABEL), ids=str)
def test_metrics_leave_out_ignored_labels(case: Case) -> None:
    inputs, labels = case.data()
    model = case.model()
    all_ids, all_logits = labels["labels"], case.outputs(model)["logits"]
    every = WEIGHT.reshape(-1, *[1] * (all_ids.ndim - 1)) * np.ones(all_ids.shape)
    for loss in ("crossentropy", losses_of(case), None):
        logits, ids, each = (all_logits, all_ids, every) if loss else case.pairs(all_logits, all_ids, every)
        counts = ids != IGNORED
        right = (logits.argmax(-1) == ids)[counts]
        model.compile(
            keras.optimizers.SGD(0.0), loss=loss, run_eagerly=True,
            metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(1, name="top"),
                     keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="crossentropy")],
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="weighted"),
                              keras.metrics.MeanIoU(logits.shape[-1], sparse_y_pred=False, name="overlap",
                                                    dtype="float32")],
        )  # fmt: skip
        result = model.evaluate(inputs, all_ids, batch_size=4, verbose=0, return_dict=True)
        assert result["accuracy"] == result["top"] == result["weighted"] == pytest.approx(right.mean())
        assert result["crossentropy"] == pytest.approx(cross_entropy(logits, ids), rel=1e-5)
        assert result["overlap"] == pytest.approx(overlap(logits.argmax(-1)[counts], ids[counts]), rel=1e-5)
    result = model.evaluate(inputs, all_ids, sample_weight=WEIGHT, batch_size=ROWS, verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx(right.mean())
    assert result["weighted"] == pytest.approx((right * each[counts]).sum() / each[counts].sum(), rel=1e-5)


def overlap(predicted: np.ndarray, ids: np.ndarray) -> float:
    """The mean over classes that occur: how many have the class in both, of those that have it in one."""
    return float(np.mean([((predicted == c) & (ids == c)).sum() / ((predicted == c) | (ids == c)).sum()
                          for c in np.union1d(predicted, ids)]))  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("case", sampled("nothing that counts", WITH_IDS), ids=str)
def test_nothing_that_counts(case: Case, compiled: bool) -> None:
    """A batch without any label: no loss, no gradient, no metric, and nothing that is not a number."""
    inputs, labels = case.data()
    labels = {name: np.full_like(value, IGNORED) for name, value in labels.items() if name != "is_impossible"}
    model = case.model()
    losses = {output: loss for output, loss in losses_of(case).items() if output != "answer_class_logits"}
    model.compile(keras.optimizers.SGD(1.0), loss=losses if compiled else None, run_eagerly=True)
    before = model.get_weights()
    assert model.train_on_batch(inputs, labels, return_dict=True)["loss"] == 0
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("case", sampled("labels in a column", WITH_A_LABEL_A_ROW), ids=str)
def test_labels_in_a_column(case: Case) -> None:
    inputs, labels = case.data()
    model = case.model()
    expected = cross_entropy(case.outputs(model)["logits"], labels["labels"])
    right = (case.outputs(model)["logits"].argmax(-1) == labels["labels"]).sum() / (ROWS - 1)
    for loss in (None, losses_of(case)):
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        model.compile(keras.optimizers.SGD(0.0), loss=loss, metrics=metrics, run_eagerly=True)
        result = model.test_on_batch(inputs, labels["labels"][:, None], return_dict=True)
        assert result["loss"] == pytest.approx(expected, rel=1e-5)
        assert result["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("form", ["ids", "column", "numbers with a point"])
def test_ignored_labels_of_one_output(form: str) -> None:
    """A last axis of 1 is no reason to count -100."""
    case = BY_NAME["TFXLMForTokenClassification"]
    model, inputs = case.model(num_labels=1), case.inputs()
    ids = np.where(inputs["attention_mask"] == 1, inputs["input_ids"] % 2, IGNORED)
    logits = np.asarray(model(inputs).logits, np.float64)[..., 0]
    each, counts = np.logaddexp(0, logits) - ids * logits, ids != IGNORED
    labels = {"ids": ids, "column": ids[..., None], "numbers with a point": ids.astype(np.float32)}[form]
    model.compile(
        keras.optimizers.SGD(0.0), loss=keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True,
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )  # fmt: skip
    result = model.test_on_batch(inputs, labels, return_dict=True)
    assert result["loss"] == pytest.approx(each[counts].mean(), rel=1e-5)
    assert result["accuracy"] == pytest.approx(((logits > 0) == ids)[counts].mean())
    weighted = model.test_on_batch(inputs, labels, sample_weight=WEIGHT, return_dict=True)
    assert weighted["loss"] == pytest.approx((each * WEIGHT[:, None])[counts].sum() / counts.sum(), rel=1e-5)


def test_ignored_labels_of_one_choice() -> None:
    case = BY_NAME["TFXLMForMultipleChoice"]
    model, inputs = case.model(), {name: value[:, :1] for name, value in case.inputs().items()}
    logits = np.asarray(model(inputs).logits, np.float64)[:, 0]
    labels = np.array([0, IGNORED, 1, 1, IGNORED, 0, 1])
    each, counts = np.logaddexp(0, logits) - labels * logits, labels != IGNORED
    model.compile(keras.optimizers.SGD(0.0), loss=keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    assert model.test_on_batch(inputs, labels) == pytest.approx(each[counts].mean(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_every_number_of_a_regression_counts(dtype: str) -> None:
    case = BY_NAME["TFXLMForSequenceClassification"]
    model, inputs = case.model(num_labels=1), case.inputs()
    labels = np.array([3, IGNORED, 1, 0, IGNORED, 2, 5], dtype)
    expected = np.square(np.asarray(model(inputs).logits, np.float64)[:, 0] - labels).mean()
    model.compile(keras.optimizers.SGD(0.0), loss="mse", metrics=["mse"], run_eagerly=True)
    result = model.test_on_batch(inputs, labels, return_dict=True)
    assert result["loss"] == pytest.approx(expected, rel=1e-5) and result["mse"] == pytest.approx(expected, rel=1e-5)
