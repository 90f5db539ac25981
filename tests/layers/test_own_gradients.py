"""Gradients that are written out, against those that TensorFlow derives from Keras's functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tfxlm.layers import FeedForward, TiedProjection, activation_named
from tfxlm.layers.activations import in_training
from tfxlm.layers.normalization import LayerNormalization

DIM, WORDS = 16, 40
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape).astype(np.float32))


def differentiated(function: Callable[..., Any], *inputs: Any, jit: bool = False) -> list[np.ndarray]:
    """What a function returns, and the gradients of its inputs when the results are weighted."""

    @tf.function(jit_compile=jit)
    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = function(*inputs)
            weights = tf.cast(tf.reshape(tf.range(tf.size(result)) % 7, tf.shape(result)), result.dtype)
            total = tf.reduce_sum(result * weights)
        return result, *tape.gradient(total, inputs)

    return [np.asarray(value, np.float32) for value in run()]


def same(ours: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 2e-6) -> None:
    for value, other in zip(ours, expected, strict=True):
        assert value.shape == other.shape
        assert np.linalg.norm(value - other) <= tolerance * np.linalg.norm(other)


@pytest.mark.parametrize("jit", [False, True])
def test_gelu(jit: bool) -> None:
    x = np.concatenate([np.linspace(-12, 12, 97), [0, -20, 20]])
    value, slope = differentiated(in_training(activation_named("gelu")), tf.constant(x, tf.float32), jit=jit)
    share = np.array([0.5 * math.erfc(-number / 2**0.5) for number in x])
    density = np.exp(-0.5 * x**2) / (2 * math.pi) ** 0.5
    # XLA's error function stops short of -1 by a last bit, which x multiplies.
    np.testing.assert_allclose(value, x * share, rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(slope, np.arange(len(x)) % 7 * (share + x * density), rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("dtype, tolerance", [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_gelu_in_half_types(dtype: str, tolerance: float) -> None:
    x = ops.cast(numbers(20, DIM) * 3, dtype)
    forms = (in_training(activation_named("gelu")), activation_named("gelu"))
    assert forms[0](x).dtype == dtype
    same(*(differentiated(form, x) for form in forms), tolerance=tolerance)


def test_other_activations_stay() -> None:
    for name in ("gelu_new", "relu"):
        assert in_training(activation_named(name)) is activation_named(name)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("shape", [(5, DIM), (2, 3, DIM)], ids=str)
def test_normalization(shape: tuple[int, ...], jit: bool) -> None:
    layers = (LayerNormalization(epsilon=1e-5), keras.layers.LayerNormalization(epsilon=1e-5))
    x, gamma, beta = numbers(*shape) * 3 + 1, numbers(DIM), numbers(DIM)

    def applied(layer: Any, training: bool) -> Callable[..., Any]:
        layer.build(shape)

        def function(x: Any, gamma: Any, beta: Any) -> Any:
            trainable = [(layer.gamma, gamma), (layer.beta, beta)]
            with keras.StatelessScope(state_mapping=trainable):
                return layer(x, training=training) if training else layer(x)

        return function

    ours = differentiated(applied(layers[0], True), x, gamma, beta, jit=jit)
    same(ours, differentiated(applied(layers[1], False), x, gamma, beta))


@pytest.mark.parametrize("jit", [False, True])
def test_projection(jit: bool) -> None:
    layer = TiedProjection(WORDS)
    layer.build()
    x, table = numbers(2, 3, DIM), numbers(WORDS, DIM)
    ours = differentiated(lambda x, table: layer(x, table, training=True), x, table, jit=jit)
    same(ours, differentiated(lambda x, table: tf.einsum("bpd,wd->bpw", x, table), x, table))


def test_only_in_training() -> None:
    # The graph of a model that answers is left to what TensorFlow recognises in it.
    layers = {
        "feed-forward": FeedForward(DIM, 3 * DIM, activation=activation_named("gelu")),
        "normalization": LayerNormalization(),
    }
    for name, layer in layers.items():
        layer.build((None, DIM))
        for training in (True, False):
            graph = tf.function(lambda x, layer=layer, training=training: layer(x, training=training))
            nodes = graph.get_concrete_function(tf.TensorSpec((4, DIM))).graph.as_graph_def().node
            assert any(node.op == "IdentityN" for node in nodes) == training, name
