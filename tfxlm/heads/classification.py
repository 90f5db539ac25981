"""Sequence classification and regression: the kind of problem, and its loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.errors import InputError


def problem_of(labels: Any, num_labels: int, problem_type: str | None = None) -> str:
    """Returns which problem a head solves.

    Args:
        labels: the labels, whose dtype decides when nothing else does.
        num_labels: outputs of the head; one means regression.
        problem_type: an explicit choice, or None.

    Returns:
        "regression", "single_label_classification" (integer labels) or "multi_label_classification".
    """
    if problem_type is not None:
        return problem_type
    if num_labels == 1:
        return "regression"
    integer = not keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype))
    return "single_label_classification" if integer else "multi_label_classification"


def classification_loss(labels: Any, logits: Any, sample_weight: Any = None, *, problem_type: str | None = None) -> Any:
    """Returns the mean loss of a batch: squared error, cross-entropy, or binary cross-entropy per label.

    Args:
        labels: (batch,) or (batch, 1) integers for one label of several; (batch, num_labels) of 0 and 1 for several
            at once; (batch,) or (batch, num_labels) numbers for regression.
        logits: (batch, num_labels).
        sample_weight: (batch,) or None.
        problem_type: see `problem_of`.

    Returns:
        float32 scalar.

    Raises:
        InputError: when the labels' shape does not fit the problem.
    """
    num_labels = logits.shape[-1]
    logits = ops.cast(logits, "float32")
    problem = problem_of(labels, num_labels, problem_type)
    if problem == "single_label_classification":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100, dtype="float32")
        return loss(ops.reshape(labels, (-1,)), logits, sample_weight)
    if problem == "regression" and num_labels == 1:
        labels = ops.reshape(labels, (-1, 1))
    if len(labels.shape) != 2 or labels.shape[-1] not in (None, num_labels):
        raise InputError(
            f"For {problem} with {num_labels} labels, labels must have shape (batch, {num_labels}), "
            f"got {tuple(labels.shape)}. Set config.problem_type if another problem is meant."
        )
    kinds = {
        "regression": keras.losses.MeanSquaredError(dtype="float32"),
        "multi_label_classification": keras.losses.BinaryCrossentropy(from_logits=True, dtype="float32"),
    }
    return kinds[problem](ops.cast(labels, "float32"), logits, sample_weight)
