"""The adaptive softmax against a plain numpy form; PyTorch's layer is the reference of the parity tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfxlm.layers import AdaptiveSoftmax

DIM, WORDS, CUTOFFS = 12, 30, [7, 10, 22]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, DIM)).astype(np.float32)
LABELS = np.concatenate([[0, 6, 7, 9, 10, 21, 22, 29], RNG.integers(0, WORDS, 7)]).reshape(3, 5).astype(np.int32)


def make(dtype: str = "float32") -> AdaptiveSoftmax:
    layer = AdaptiveSoftmax(DIM, WORDS, CUTOFFS, div_value=2.0, dtype=dtype, name="pred_layer")
    layer.build()
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return layer


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def expected(layer: AdaptiveSoftmax) -> np.ndarray:
    head = log_softmax(X @ np.asarray(layer.head.kernel) + np.asarray(layer.head.bias))
    parts = [head[..., :7]]
    for index, tail in enumerate(layer.tails):
        inside = log_softmax(X @ np.asarray(tail.down.kernel) @ np.asarray(tail.up.kernel))
        parts.append(head[..., 7 + index, None] + inside)
    return np.concatenate(parts, axis=-1)


def of_labels(log_probs: Any, labels: np.ndarray = LABELS) -> np.ndarray:
    return np.take_along_axis(np.asarray(log_probs), labels[..., None], axis=-1)[..., 0]


def test_variables() -> None:
    shapes = {weight.path: tuple(weight.shape) for weight in make().weights}
    assert shapes == {
        "pred_layer/head/kernel": (12, 10),
        "pred_layer/head/bias": (10,),
        "pred_layer/tail_0/down/kernel": (12, 6),
        "pred_layer/tail_0/up/kernel": (6, 3),
        "pred_layer/tail_1/down/kernel": (12, 3),
        "pred_layer/tail_1/up/kernel": (3, 12),
        "pred_layer/tail_2/down/kernel": (12, 1),
        "pred_layer/tail_2/up/kernel": (1, 8),
    }


def test_log_probabilities() -> None:
    layer = make()
    log_probs = layer(X)
    np.testing.assert_allclose(log_probs, expected(layer), atol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_log_probabilities_of_labels(jit_compile: bool | None) -> None:
    layer = make()
    function = layer.target_log_probs
    if jit_compile is not None:
        function = tf.function(function, jit_compile=jit_compile)
    np.testing.assert_allclose(function(X, LABELS), of_labels(expected(layer)), atol=1e-5)
    # Whole clusters without a word.
    for label in (0, 8, WORDS - 1):
        labels = np.full_like(LABELS, label)
        np.testing.assert_allclose(function(X, labels), of_labels(expected(layer), labels), atol=1e-5)
    np.testing.assert_allclose(function(X[0], LABELS[0]), of_labels(expected(layer)[0], LABELS[0]), atol=1e-5)


@pytest.mark.parametrize("labels", [LABELS, np.full_like(LABELS, 8)])
def test_gradients_do_not_depend_on_the_way(labels: np.ndarray) -> None:
    layer, x = make(), tf.constant(X)

    def whole() -> Any:
        return tf.gather(layer(x), labels, batch_dims=2)

    def found() -> Any:
        return layer.target_log_probs(x, labels)

    gradients = []
    for way in (whole, found, tf.function(found), tf.function(found, jit_compile=True)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = -tf.reduce_mean(way())
        # A tail whose words do not occur gets none, or zeros.
        zero = tf.UnconnectedGradients.ZERO
        gradients.append(tape.gradient(loss, [x, *layer.trainable_weights], unconnected_gradients=zero))
    for others in gradients[1:]:
        for first, other in zip(gradients[0], others, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(other), first, atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_types_answer_in_float32(dtype: str) -> None:
    layer = make(dtype)
    log_probs = layer(X * 10)
    assert log_probs.dtype == tf.float32
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    assert layer.target_log_probs(X * 10, LABELS).dtype == tf.float32
    np.testing.assert_allclose(layer.target_log_probs(X * 10, LABELS), of_labels(log_probs), atol=1e-5)


def test_any_sizes() -> None:
    layer = make()
    spec = [tf.TensorSpec((None, None, DIM)), tf.TensorSpec((None, None), tf.int32)]
    call = tf.function(lambda x, labels: (layer(x), layer.target_log_probs(x, labels)), input_signature=spec)
    log_probs, targets = call(X, LABELS)
    assert log_probs.shape == (3, 5, WORDS)
    np.testing.assert_allclose(targets, of_labels(log_probs), atol=1e-5)
