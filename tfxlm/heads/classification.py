"""Sequence classification and regression: the kind of problem, and its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range
from tfxlm.errors import InputError
from tfxlm.heads.labels import fits, is_integer
from tfxlm.heads.losses import cross_entropy, mean_loss

# The loss of each row, by problem; classification is `cross_entropy`.
LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {
    "regression": keras.losses.mean_squared_error,
    "multi_label_classification": partial(keras.losses.binary_crossentropy, from_logits=True),
}

WAY_OUT = (
    ' Set problem_type="single_label_classification", "multi_label_classification" or "regression" in the '
    "configuration if another problem is meant."
)


def problem_of(labels: Any, num_labels: int, problem_type: str | None = None) -> str:
    """Returns which problem a head solves.

    Args:
        labels: the labels, whose dtype decides when nothing else does; None where there are none.
        num_labels: outputs of the head; one means regression.
        problem_type: an explicit choice, or None.

    Returns:
        "regression", "single_label_classification" (integers, a number for each row, or none) or
        "multi_label_classification" (others).
    """
    if problem_type is not None:
        return problem_type
    if num_labels == 1:
        return "regression"
    several = labels is not None and not is_integer(labels) and not _is_one_each(labels)
    return "multi_label_classification" if several else "single_label_classification"


def classification_loss(labels: Any, logits: Any, sample_weight: Any = None, *, problem_type: str | None = None) -> Any:
    """Returns the mean loss of a batch: squared error, cross-entropy, or binary cross-entropy per label.

    Args:
        labels: (batch,) or (batch, 1) whole numbers for one label of several, -100 for a row that does not count;
            (batch, num_labels) of 0 and 1 for several at once; (batch,) or (batch, num_labels) numbers for regression.
        logits: (batch, num_labels).
        sample_weight: (batch,) or None.
        problem_type: see `problem_of`.

    Returns:
        float32 scalar.

    Raises:
        InputError: when dtype, shape or values of the labels do not fit the problem.
    """
    batch, num_labels = logits.shape
    logits = ops.cast(logits, "float32")
    labels = ops.convert_to_tensor(labels)
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if dtype == "string":
        raise InputError(
            f"labels must be numbers, got strings of shape {tuple(labels.shape)}. Turn names into ids: config.label2id."
        )
    problem = problem_of(labels, num_labels, problem_type)
    shapes: list[tuple[int | None, ...]] = [(batch, num_labels)]
    if problem == "single_label_classification" or num_labels == 1:
        shapes = [(batch,), (batch, 1)]
    if not any(fits(tuple(labels.shape), shape) for shape in shapes):
        raise InputError(
            f"For {problem} with num_labels = {num_labels}, labels must have shape {' or '.join(map(str, shapes))}, "
            f"got {dtype} of shape {tuple(labels.shape)}.{WAY_OUT}"
        )
    if problem == "single_label_classification":
        ids = ops.reshape(labels if is_integer(labels) else _whole_numbers(labels), (-1,))
        return cross_entropy(ids, logits, "num_labels", sample_weight)
    # Reshaped rather than broadcast: one row of labels must not stand for a whole batch.
    targets = ops.reshape(ops.cast(labels, "float32"), ops.shape(logits))
    return mean_loss(LOSSES[problem](targets, logits), sample_weight)


def _is_one_each(labels: Any) -> bool:
    """Whether labels are a floating point number for each row, which scripts for Keras give for ids."""
    is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype))
    return is_float and tuple(labels.shape[1:]) in ((), (1,))


def _whole_numbers(labels: Any) -> Any:
    """Returns numbers of another type as int32.

    Raises:
        InputError: when one is not whole (in a graph, see `tfxlm.backend.check_range`).
    """
    ids = ops.cast(labels, "int32")
    is_odd = ops.cast(ops.not_equal(ops.cast(ids, labels.dtype), labels), "int32")
    return ids + check_range(is_odd, 1, f"One label of several must be a whole number for each row.{WAY_OUT}")
