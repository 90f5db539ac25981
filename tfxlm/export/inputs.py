"""What served models take: ids with `lengths`, and what a head needs beside them.

The mask is built in the graph: the server pads each tensor of a batch on its own, with that tensor's first element, and
would pad a mask with ones. Whatever stands at padding, `lengths` (and `num_choices`) say what is real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

Tensors = dict[str, tf.Tensor]
# Arrays by input: numbers, or bytes.
Request = Mapping[str, np.ndarray]

# The axes of a text; all inputs are int32. A model that chooses among texts has several texts in a row.
ONE_TEXT = ("batch",)
SEVERAL_TEXTS = ("batch", "choices")

# The axes that each input has beside those of the text, or in place of them.
TOKENS, ONCE = ("length",), ()
_AXES_OF_TEXT = {"input_ids": TOKENS, "langs": TOKENS, "p_mask": TOKENS, "lengths": ONCE, "cls_index": ONCE}
# The inputs with an axis of tokens, which is the last one.
OF_TOKENS = tuple(name for name, axes in _AXES_OF_TEXT.items() if axes == TOKENS)
_AXES_OF_ROW = {"num_choices": ("batch",), "seed": ("batch",)}

# What each axis must at least have, for messages. An empty batch has an empty answer.
_AT_LEAST_ONE = {"choices": "at least 1 choice", "length": "a length of at least 1"}


def axes_of(name: str, text: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the axes of an input.

    Args:
        name: of the input.
        text: axes of a text, `ONE_TEXT` or `SEVERAL_TEXTS`.
    """
    return _AXES_OF_ROW[name] if name in _AXES_OF_ROW else text + _AXES_OF_TEXT[name]


def input_specs(names: Iterable[str], text: tuple[str, ...]) -> dict[str, tf.TensorSpec]:
    """Returns the specifications of inputs by name; every size is free."""
    return {name: tf.TensorSpec((None,) * len(axes_of(name, text)), tf.int32, name=name) for name in names}


def real_positions(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns which positions of the ids are real: boolean, of their shape."""
    return tf.sequence_mask(inputs["lengths"], tf.shape(inputs["input_ids"])[-1])


def checked(inputs: Tensors, text: tuple[str, ...]) -> Tensors:
    """Adds assertions to the graph: sizes are only known when a request comes, and would broadcast otherwise.

    Args:
        inputs: int32 tensors by name.
        text: axes of a text.

    Returns:
        The inputs, for what may only run once the assertions hold.
    """
    checks: list[Any] = []
    for holds, message in _rules(inputs, text):
        # One after the other, so that a request that breaks several rules always gets the same message.
        with tf.control_dependencies(checks):
            checks = [tf.debugging.Assert(holds(), [message], summarize=1)]
    with tf.control_dependencies(checks):
        return {name: tf.identity(tensor) for name, tensor in inputs.items()}


def _rules(inputs: Tensors, text: tuple[str, ...]) -> Iterator[tuple[Callable[[], tf.Tensor], str]]:
    """What must hold, with the message for when it does not: first sizes, then values."""
    axes = axes_of("input_ids", text)
    size = dict(zip(axes, tf.unstack(tf.shape(inputs["input_ids"]), num=len(axes)), strict=True))
    least = " and ".join(_AT_LEAST_ONE[axis] for axis in axes[1:])
    yield (
        lambda: tf.reduce_all([size[axis] >= 1 for axis in axes[1:]]),
        f"input_ids must have shape {_written(axes)} with {least}.",
    )
    for name, tensor in inputs.items():
        expected = axes_of(name, text)
        yield (
            partial(_has_shape, tensor, [size[axis] for axis in expected]),
            f"{name} must have shape {_written(expected)}, with the sizes that input_ids {_written(axes)} has.",
        )
    # No text is without tokens, not even those that a server fills a batch up with: they are copies.
    ranges: dict[str, tuple[int, Any, str]] = {
        "lengths": (1, size["length"], "at least 1 and at most the length of input_ids"),
        "num_choices": (1, size.get("choices"), "at least 1 and at most the number of choices in input_ids"),
        "cls_index": (0, inputs["lengths"] - 1, "positions of real tokens: at least 0 and below lengths"),
    }
    for name, (low, high, what) in ranges.items():
        if name in inputs:
            yield partial(_is_within, inputs[name], low, high), f"{name} must be {what}."


def _has_shape(tensor: tf.Tensor, sizes: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all(tf.shape(tensor) == sizes)


def _is_within(tensor: tf.Tensor, low: int, high: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all((tensor >= low) & (tensor <= high))


def _written(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"


def sample_inputs(names: Iterable[str], text: tuple[str, ...], config: Any, length: int = 8) -> dict[str, np.ndarray]:
    """Makes a small request with padding: three rows of different lengths.

    Args:
        names: of the inputs.
        text: axes of a text.
        config: the model's configuration, for the ids there are.
        length: tokens of the longest row, if the model takes so many.

    Returns:
        int32 arrays by name.
    """
    random = np.random.default_rng(0)
    length = min(length, config.max_sequence_length)
    texts = (3,) * len(text)
    lengths = np.resize([length, max(1, length // 2), 1, max(1, length - 1)], texts)
    real = np.arange(length) < lengths[..., None]
    values = {
        "input_ids": np.where(real, random.integers(0, config.vocab_size, real.shape), 0),
        "lengths": lengths,
        "langs": random.integers(0, getattr(config, "n_langs", 1), real.shape),
        "p_mask": np.broadcast_to(np.arange(length) % 3 == 0, real.shape),
        "cls_index": lengths - 1,
        "num_choices": np.array([3, 2, 1]),
        "seed": np.arange(3),
    }
    return {name: values[name].astype(np.int32) for name in names}
