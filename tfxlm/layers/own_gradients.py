"""Functions with gradients of their own, for training on TensorFlow.

TensorFlow derives a gradient one function at a time, and each is a pass over the data that leaves a temporary behind.
The gradient of a whole formula takes fewer passes, and less of the forward pass has to be kept for it.

Only training uses them, but for look-ups: graphs for inference are those that TensorFlow knows how to fuse, and exports
answer bit for bit as the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from tfxlm.backend import IS_TENSORFLOW

if IS_TENSORFLOW:
    import tensorflow as tf


def gelu(x: Any) -> Any:
    """The exact GELU (Hendrycks and Gimpel, 2016). Its derivative is all that is kept of the forward pass."""

    @tf.custom_gradient
    def apply(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        scaled = x * 0.5**0.5
        share = 0.5 * tf.math.erf(scaled) + 0.5
        # x times the density of the normal distribution, whose factor 1 / sqrt(pi) is in the exponent.
        derivative = share + scaled * tf.exp(-0.5 * math.log(math.pi) - tf.square(scaled))
        return x * share, lambda upstream: upstream * derivative

    return apply(x)


def cross_entropy(ids: Any, logits: Any) -> Any:
    """The cross-entropy of each vector of logits, in nats.

    TensorFlow's kernel, which finds loss and gradient at once, works in one thread: it takes two to three times as long
    for a vocabulary, and was a third of the step of a small causal model.

    Args:
        ids: the right class of each, int32 (...).
        logits: float32 (..., classes).

    Returns:
        float32 (...).
    """

    @tf.custom_gradient
    def apply(logits: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> Any:
            # From the logits once more, so that it can be differentiated; a graph computes their softmax once.
            return (tf.nn.softmax(logits) - tf.one_hot(ids, tf.shape(logits)[-1])) * upstream[..., None]

        # The logarithm of the sum of exponentials, of which the softmax has the largest.
        whole = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(tf.nn.softmax(logits), axis=-1))
        return whole - tf.gather(logits, ids, axis=-1, batch_dims=len(logits.shape) - 1), gradient

    return apply(logits)


def normalize(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Layer normalisation of the last axis.

    Args:
        x: (..., dim).
        gamma, beta: (dim,), in the dtype of `x`.
        epsilon: added to the variance.

    Returns:
        (..., dim).
    """

    @tf.custom_gradient
    def apply(x: Any, gamma: Any, beta: Any) -> tuple[Any, Callable[[Any], Any]]:
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True) + epsilon)
        normal = centred * scale

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            rows = list(range(len(x.shape) - 1))
            of_gamma, dim = upstream * normal, x.shape[-1]
            # What changes the mean or the variance of a row goes nowhere: both are taken out again.
            mean = tf.linalg.matvec(upstream, gamma)[..., None] / dim
            slope = tf.linalg.matvec(of_gamma, gamma)[..., None] / dim
            of_x = (upstream * gamma - normal * slope - mean) * scale
            return of_x, tf.reduce_sum(of_gamma, rows), tf.reduce_sum(upstream, rows)

        return normal * gamma + beta, gradient

    return apply(x, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta))


def project_few(rows: Any, table: Any) -> Any:
    """(rows, dim), (words, dim) -> (rows, words), with the table on the left.

    The derived gradient of the rows would have the transposed table on the left, which takes half as long again.
    """

    @tf.custom_gradient
    def apply(rows: Any, table: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            return tf.matmul(upstream, table), tf.matmul(upstream, rows, transpose_a=True)

        return tf.transpose(tf.matmul(table, rows, transpose_b=True)), gradient

    return apply(rows, tf.convert_to_tensor(table))


def take_rows(table: Any, rows: Any) -> Any:
    """Takes rows of a matrix, with a dense gradient.

    TensorFlow's own gradient has a slice for each use of a row, and Keras's optimizers square these slices before they
    are added up: Adam would then take steps that are too large for every row that a batch uses more than once.

    Args:
        table: (size, dim), a tensor or variable.
        rows: integers of any shape.

    Returns:
        (*rows.shape, dim).
    """
    if not IS_TENSORFLOW:
        return ops.take(table, rows, axis=0)

    @tf.custom_gradient
    def take(values: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> Any:
            return tf.math.unsorted_segment_sum(upstream, rows, num_segments=values.shape[0])

        return tf.gather(values, rows), gradient

    # Of a variable, Keras gives TensorFlow's, which is not a tensor yet.
    return take(tf.convert_to_tensor(ops.convert_to_tensor(table)))
