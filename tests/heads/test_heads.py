"""Losses against numpy, and which positions reach the output layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.heads.classification import classification_loss, problem_of
from tfxlm.heads.decode import classification_scores
from tfxlm.heads.language_modeling import chosen_positions
from tfxlm.heads.losses import cross_entropy, token_losses

RNG = np.random.default_rng(1)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize(
    ("dtype", "num_labels", "given", "problem"),
    [
        ("int32", 3, None, "single_label_classification"),
        ("float32", 3, None, "multi_label_classification"),
        ("float32", 1, None, "regression"),
        ("int32", 1, None, "regression"),
        ("int32", 3, "multi_label_classification", "multi_label_classification"),
        ("float32", 3, "single_label_classification", "single_label_classification"),
        ("bool", 3, None, "multi_label_classification"),
    ],
)
def test_problem(dtype: str, num_labels: int, given: str | None, problem: str) -> None:
    assert problem_of(tf.zeros((2, num_labels), dtype), num_labels, given) == problem


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_number_for_each_row_is_one_label_of_several(shape: tuple[int, ...]) -> None:
    assert problem_of(tf.zeros(shape), 3) == "single_label_classification"
    assert problem_of(tf.zeros(shape), 1) == "regression"


LOGITS = RNG.normal(size=(4, 3)).astype(np.float32)
TARGETS = RNG.integers(0, 2, (4, 3)).astype(np.float32)


@pytest.mark.parametrize("way", ["eager", "graph", "XLA"])
@pytest.mark.parametrize(("shape", "classes", "scale"), [((7,), 3, 1.0), ((2, 5), 1001, 30.0), ((0, 4), 9, 1.0)])
def test_losses_of_tokens_and_their_gradients(shape: tuple[int, ...], classes: int, scale: float, way: str) -> None:
    logits = RNG.normal(scale=scale, size=(*shape, classes)).astype(np.float32)
    ids, weights = RNG.integers(0, classes, shape), RNG.normal(size=shape).astype(np.float32)

    def measured(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = token_losses(tf.constant(ids, tf.int32), logits)
            weighted = tf.reduce_sum(losses * weights)
        return losses, tape.gradient(weighted, logits)

    run = measured if way == "eager" else tf.function(measured, jit_compile=way == "XLA")
    losses, gradient = run(tf.constant(logits))
    exact = log_softmax(logits.astype(np.float64))
    places = np.eye(classes)[ids]
    np.testing.assert_allclose(losses, -(exact * places).sum(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, (np.exp(exact) - places) * weights[..., None], atol=1e-6)


def test_losses_of_tokens_can_be_differentiated_twice() -> None:
    logits, ids = tf.constant(LOGITS), tf.constant([0, 2, 1, 1])
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            loss = tf.reduce_sum(token_losses(ids, logits))
        penalty = tf.reduce_sum(inner.gradient(loss, logits) ** 2)
    p = np.exp(log_softmax(LOGITS.astype(np.float64)))
    error = 2 * (p - np.eye(3)[ids])
    expected = p * (error - (p * error).sum(-1, keepdims=True))
    np.testing.assert_allclose(outer.gradient(penalty, logits), expected, atol=1e-6)


def test_a_class_that_cannot_be_has_no_gradient() -> None:
    logits = tf.constant([[0.0, -np.inf, 1.0], [0.0, -np.inf, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = token_losses(tf.constant([2, 1]), logits)
    np.testing.assert_allclose(losses, [np.log(1 + np.exp(-1)), np.inf], rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(losses, logits)[0, 1], 0)


@pytest.mark.parametrize(
    ("labels", "logits", "problem", "expected"),
    [
        (np.array([0, 2, 1, 1]), LOGITS, None, -log_softmax(LOGITS)[range(4), [0, 2, 1, 1]]),
        (np.array([[0], [2], [1], [1]]), LOGITS, None, -log_softmax(LOGITS)[range(4), [0, 2, 1, 1]]),
        (TARGETS, LOGITS, None, np.logaddexp(0, LOGITS) - TARGETS * LOGITS),
        (TARGETS.astype(int), LOGITS, "multi_label_classification", np.logaddexp(0, LOGITS) - TARGETS * LOGITS),
        (TARGETS, LOGITS, "regression", (TARGETS - LOGITS) ** 2),
        (np.array([1.0, 2, 3, 4]), LOGITS[:, :1], None, (np.array([[1.0], [2], [3], [4]]) - LOGITS[:, :1]) ** 2),
    ],
)
def test_classification_loss(labels: Any, logits: np.ndarray, problem: str | None, expected: np.ndarray) -> None:
    loss = classification_loss(tf.constant(labels), tf.constant(logits), problem_type=problem)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    weight = np.array([1.0, 0, 2, 1], np.float32)
    weighted = classification_loss(tf.constant(labels), tf.constant(logits), tf.constant(weight), problem_type=problem)
    each = expected.reshape(4, -1).mean(-1)
    np.testing.assert_allclose(weighted, (each * weight).sum() / 4, rtol=1e-5)


def test_ignored_labels_do_not_count() -> None:
    loss = classification_loss(tf.constant([0, -100, 1, -100]), tf.constant(LOGITS))
    np.testing.assert_allclose(loss, -(log_softmax(LOGITS)[0, 0] + log_softmax(LOGITS)[2, 1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_ids_may_be_floating_point_numbers(shape: tuple[int, ...]) -> None:
    labels = np.array([2, 0, -100, 1]).reshape(shape)
    expected = classification_loss(tf.constant(labels), tf.constant(LOGITS))
    assert classification_loss(tf.constant(labels, tf.float32), tf.constant(LOGITS)) == expected


def test_graphs_need_not_know_how_many_classes_there_are() -> None:
    signature = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None])]

    @tf.function(input_signature=signature)
    def run(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = cross_entropy(labels, logits, "choices")
        return loss, tape.gradient(loss, logits)

    labels = np.array([2, 0, 1, 1], np.int32)
    loss, gradient = run(labels, LOGITS)
    shares = np.exp(log_softmax(LOGITS))
    assert float(loss) == pytest.approx(-log_softmax(LOGITS)[range(4), labels].mean(), rel=1e-5)
    np.testing.assert_allclose(gradient, (shares - np.eye(LOGITS.shape[1])[labels]) / 4, atol=1e-6)


SINGLE, MULTI = "single_label_classification", "multi_label_classification"


@pytest.mark.parametrize(
    ("labels", "problem", "message"),
    [
        (np.zeros((4, 2), np.float32), None, rf"For {MULTI} .* shape \(4, 3\), got float32 of shape \(4, 2\)"),
        (np.zeros(4, np.float32), "regression", r"For regression .* shape \(4, 3\), got float32 of shape \(4,\)"),
        (np.zeros((1, 3), np.float32), "regression", r"shape \(4, 3\), got float32 of shape \(1, 3\)"),
        (np.zeros((4, 3), int), None, rf"For {SINGLE} .* \(4,\) or \(4, 1\), got int64 of .*Set problem_type="),
        (np.zeros(5, int), None, r"shape \(4,\) or \(4, 1\), got int64 of shape \(5,\)"),
        (np.zeros(4, bool), None, rf"For {MULTI} with num_labels = 3, .* got bool of shape \(4,\)"),
        (np.full(4, 0.5, np.float32), None, r"must be a whole number for each row\. Set problem_type="),
        (np.full(4, 0.5, np.float32), SINGLE, r"must be a whole number for each row\. Set problem_type="),
        (np.array([0, 1, 2, 3]), None, r"in \[0, num_labels = 3\), or -100 for those .* Found values from 0 to 3"),
        (np.array([0, 1, -1, 2]), None, r"in \[0, num_labels = 3\), or -100 for those .* Found values from -1 to 2"),
        (np.array([0, 1, 2**32, 2]), None, r"in \[0, num_labels = 3\), .* Found values from 0 to 2147483647"),
        (np.array(["a", "b", "c", "d"]), None, r"labels must be numbers, got strings of shape \(4,\).*config.label2id"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, problem: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classification_loss(tf.constant(labels), tf.constant(LOGITS), problem_type=problem)


def test_one_value_is_not_spread_over_a_batch() -> None:
    with pytest.raises(InputError, match=r"For regression with num_labels = 1, .* \(4,\) or \(4, 1\), got .* \(1,\)"):
        classification_loss(tf.constant([1.0]), tf.constant(LOGITS[:, :1]))
    signature = [tf.TensorSpec([None]), tf.TensorSpec([None, 1])]
    graph = tf.function(lambda labels, logits: classification_loss(labels, logits), input_signature=signature)
    assert np.isfinite(graph(tf.ones(4), LOGITS[:, :1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        graph(tf.ones(1), LOGITS[:, :1])


def test_label_out_of_range_in_a_graph() -> None:
    graph = tf.function(lambda labels: classification_loss(labels, tf.constant(LOGITS)))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"labels must be in \[0, num_labels = 3\), or -100"):
        graph(tf.constant([0, 1, 2, 3]))


@pytest.mark.parametrize(
    ("num_labels", "problem", "expected"),
    [
        (3, None, np.exp(log_softmax(LOGITS))),
        (3, SINGLE, np.exp(log_softmax(LOGITS))),
        (3, MULTI, 1 / (1 + np.exp(-LOGITS))),
        (3, "regression", LOGITS),
        (1, None, LOGITS[:, :1]),
        (1, SINGLE, np.ones((4, 1))),
    ],
)
def test_classification_scores(num_labels: int, problem: str | None, expected: np.ndarray) -> None:
    scores = classification_scores(tf.constant(LOGITS[:, :num_labels]), problem)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_half_precision_logits_have_a_float32_loss() -> None:
    loss = classification_loss(tf.constant([0, 2, 1, 1]), tf.constant(LOGITS * 1000, "float16"))
    assert loss.dtype == tf.float32 and np.isfinite(loss)


LM_LOGITS = RNG.normal(size=(2, 3, 7)).astype(np.float32)
LM_LABELS = np.array([[1, -100, 6], [-100, 0, 0]])


def token_loss(labels: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:
    return cross_entropy(labels, tf.constant(LM_LOGITS), "vocab_size", sample_weight)


def test_token_loss() -> None:
    each = -np.take_along_axis(log_softmax(LM_LOGITS), np.maximum(LM_LABELS, 0)[..., None], -1)[..., 0]
    keep = LM_LABELS != -100
    loss = token_loss(tf.constant(LM_LABELS))
    np.testing.assert_allclose(loss, each[keep].mean(), rtol=1e-5)
    by_row = token_loss(tf.constant(LM_LABELS), tf.constant([2.0, 0.0]))
    np.testing.assert_allclose(by_row, 2 * each[0][keep[0]].sum() / keep.sum(), rtol=1e-5)
    same = token_loss(tf.constant(LM_LABELS), tf.constant([[2.0] * 3, [0.0] * 3]))
    np.testing.assert_allclose(same, by_row, rtol=1e-6)


def test_token_loss_without_any_label_is_finite() -> None:
    loss = token_loss(tf.fill((2, 3), -100))
    np.testing.assert_array_equal(loss, 0)


def test_token_labels_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"labels must have shape \(2, 3\), one for each position.*got \(2, 5\)"):
        token_loss(tf.zeros((2, 5), "int32"))
    with pytest.raises(InputError, match=r"labels must be integers, got float32 of shape \(2, 3\)"):
        token_loss(tf.zeros((2, 3)))
    with pytest.raises(InputError, match=r"labels must be in \[0, vocab_size = 7\), or -100 .* from 0 to 7"):
        token_loss(tf.fill((2, 3), 7) * [0, 0, 1])


STATES = RNG.normal(size=(2, 5, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, STATES),
        ({"logits_to_keep": 0}, STATES),
        ({"logits_to_keep": 2}, STATES[:, -2:]),
        ({"logits_to_keep": np.int64(2)}, STATES[:, -2:]),
        ({"logits_to_keep": tf.constant(2)}, STATES[:, -2:]),
        ({"logits_to_keep": [4]}, STATES[:, [4]]),
        ({"logits_to_keep": np.array([4, 0])}, STATES[:, [4, 0]]),
        ({"masked_positions": np.array([[1, 1], [4, 0]])}, np.stack([STATES[0, [1, 1]], STATES[1, [4, 0]]])),
    ],
)
def test_chosen_positions(options: dict[str, Any], expected: np.ndarray) -> None:
    positions = chosen_positions(*STATES.shape[:2], **options)
    kept = STATES if positions is None else np.take_along_axis(STATES, positions.numpy()[:, :, None], axis=1)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logits_to_keep": 1, "masked_positions": np.zeros((2, 1))}, "both choose positions"),
        ({"logits_to_keep": -1}, "logits_to_keep must be 0 .* got -1"),
        ({"logits_to_keep": True}, "logits_to_keep must be 0 .* got True"),
        ({"logits_to_keep": 1.5}, r"logits_to_keep must be integers with axes \(P\), got float32 of shape \(\)"),
        ({"masked_positions": np.zeros((2, 1), np.float32)}, "masked_positions must be integers with axes .*float32"),
        ({"masked_positions": np.array([[2**32]] * 2)}, "masked_positions must be positions .* 2147483647 to"),
        ({"masked_positions": np.array([[0]])}, "masked_positions must have 2 rows, as the batch has, got 1"),
        ({"logits_to_keep": np.array([5])}, "logits_to_keep must be positions within the sequence. Found .* 5 to 5"),
        ({"logits_to_keep": np.array([[1]])}, r"logits_to_keep must be .* axes \(P\), got int64 of shape \(1, 1\)"),
        ({"masked_positions": np.array([[0], [-1]])}, "masked_positions must be positions within the sequence"),
        ({"masked_positions": np.array([0, 1])}, r"masked_positions must be .*\(batch, P\), got int64 of shape \(2,\)"),
    ],
)
def test_positions_that_cannot_be_selected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen_positions(*STATES.shape[:2], **options)
