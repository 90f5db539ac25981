"""Layer normalisation as TensorFlow's optimizer of graphs knows it: on CPU, one kernel of oneDNN does all of it.

Everywhere else this form is a slow one, so it is used where the kernel is sure to come and worth its start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tfxlm.backend import IS_TENSORFLOW, can_find_rows
from tfxlm.layers.own_gradients import normalize
from tfxlm.layers.padding import Rows

if IS_TENSORFLOW:
    import tensorflow as tf

# Each call of the kernel is set up anew, which takes as long as about 100 rows. Some positions are padding.
MIN_POSITIONS = 256
# What a size of the grid is taken for that the graph leaves open.
OPEN_SIZE = 32

_PORTABLE = ContextVar("portable", default=False)


@contextmanager
def portable_graphs() -> Iterator[None]:
    """Within it graphs are made for any machine: a server need not have what this one has."""
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def is_fused(x: Any, rows: Rows | None) -> bool:
    """Whether `fused_normalize(x, ...)` becomes one kernel here, and one that takes less time.

    It does in graphs for a CPU with oneDNN, for float32 rows whose number the graph leaves open. Of a known number the
    optimizer computes parts ahead, and casts from half types it moves in between: it does not recognise the rest.

    Args:
        x: (rows, dim).
        rows: their layout; None when they are few.
    """
    if rows is None or not can_find_rows() or tf.executing_eagerly() or _PORTABLE.get():
        return False
    # TensorFlow has no public question for "is oneDNN used".
    from tensorflow.python.util import _pywrap_util_port

    is_open = len(x.shape) == 2 and x.shape[0] is None and x.dtype == tf.float32
    are_many = math.prod(OPEN_SIZE if size is None else size for size in rows.mask.shape) >= MIN_POSITIONS
    on_cpu = _pywrap_util_port.IsMklEnabled() and not tf.config.get_visible_devices("GPU")
    return is_open and are_many and on_cpu


def fused_normalize(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Layer normalisation of the last axis.

    It is written as Keras 2 wrote it, which is what the optimizer looks for: a batch normalisation with the rows as
    channels, all of it in an operation that knows neither `gamma` nor `beta`.

    Args:
        x: (rows, dim), float32.
        gamma, beta: (dim,), float32.
        epsilon: added to the variance.

    Returns:
        (rows, dim).
    """

    @tf.custom_gradient
    def apply(x: Any, gamma: Any, beta: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> Any:
            # Of what is computed once more: a result of the batch normalisation that was kept would keep the kernel
            # from taking its place.
            with tf.GradientTape() as tape:
                tape.watch((x, gamma, beta))
                again = normalize(x, gamma, beta, epsilon)
            return tape.gradient(again, (x, gamma, beta), upstream)

        shape, none = tf.shape(x), tf.constant([], tf.float32)
        normal, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(x, (1, shape[0], shape[1], 1)),
            scale=tf.fill([shape[0]], 1.0),
            offset=tf.fill([shape[0]], 0.0),
            mean=none,
            variance=none,
            epsilon=epsilon,
            data_format="NCHW",
            is_training=True,
        )
        return tf.reshape(normal, shape) * gamma + beta, gradient

    return apply(x, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta))
