"""Datasets whose elements are functions of their number, made in Python."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Longest wait, at the end of the process, for what is being made.
_PATIENCE = 5.0
# For so long no call must have come by then. TensorFlow goes on with the next numbers until what it makes ahead is
# full, of refusals, too; a thread that it sends later never comes back, and the iterator waits for it for ever.
_QUIET = 0.5


def numbered(
    make: Callable[[int], Sequence[np.ndarray]],
    signature: Sequence[tf.TensorSpec],
    finish: Callable[..., Any],
    first: int,
    count: int | None,
) -> tf.data.Dataset:
    """Makes a dataset of what a function returns for numbers in turn.

    Unlike a generator, it holds no state, several elements can be made at a time, and a process that ends while
    somebody still holds an iterator does end: nothing is left that would have to run in Python by then.

    Args:
        make: returns arrays for a number; called from several threads.
        signature: what these are.
        finish: makes the element of the arrays and the number, in the graph.
        first: number of the first element.
        count: how many there are; None for no end.

    Returns:
        The dataset, made ahead of its use.
    """
    calls = _Calls(make)

    def element(number: Any) -> Any:
        arrays = tf.numpy_function(calls, [number], [spec.dtype for spec in signature])
        for array, spec in zip(arrays, signature, strict=True):
            array.set_shape(spec.shape)
        return finish(*arrays, number)

    numbers = tf.data.Dataset.range(first, np.iinfo(np.int64).max if count is None else first + count)
    made = numbers.map(element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)
    if count is None:
        made = made.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    options = tf.data.Options()
    # Workers have their parts already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return made.with_options(options)


class _Calls:
    """A function that is not called when the process ends: threads that would enter Python then wait for ever."""

    _lock = threading.Lock()
    _running = 0
    _latest = -_QUIET
    _ending = False

    def __init__(self, make: Callable[[int], Sequence[np.ndarray]]) -> None:
        self._make = make

    def __call__(self, number: Any) -> Sequence[np.ndarray]:
        with _Calls._lock:
            _Calls._latest = time.monotonic()
            if _Calls._ending:
                raise RuntimeError("The process ends.")
            _Calls._running += 1
        try:
            return self._make(int(number))
        finally:
            with _Calls._lock:
                _Calls._running -= 1

    @classmethod
    def end(cls) -> None:
        """Lets running calls end, and begins no others; returns when none come any more."""
        cls._ending = True
        until = time.monotonic() + _PATIENCE
        while (now := time.monotonic()) < until and (cls._running or now < cls._latest + _QUIET):
            time.sleep(0.001)


atexit.register(_Calls.end)
