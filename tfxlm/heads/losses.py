"""Means over what counts, and the cross-entropy that all heads with ids as labels share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.backend import IS_TENSORFLOW, shared_evenly, sum_over_replicas
from tfxlm.errors import InputError
from tfxlm.heads.labels import IGNORED_LABEL, checked_ids, fits
from tfxlm.layers import own_gradients


def mean_loss(losses: Any, sample_weight: Any = None, valid: Any = None) -> Any:
    """Returns the mean of losses over all that count.

    Under a `tf.distribute` strategy the mean is over the whole batch. Each replica returns an equal part of it, with
    the gradient of its own rows: both add up, however unevenly rows and ignored labels are spread.

    Args:
        losses: float (batch, ...).
        sample_weight: multiplied with the losses, not part of the count (as in Keras): (batch,), (batch, 1), or the
            shape of `losses`; or None.
        valid: boolean, the shape of `losses`; others are left out of sum and count. None counts all.

    Returns:
        float32 scalar; 0 when nothing counts.

    Raises:
        InputError: when `sample_weight` has another shape.
    """
    losses = ops.cast(losses, "float32")
    counted = ops.ones_like(losses) if valid is None else ops.cast(valid, "float32")
    # A loss that does not count may be infinite, and 0 times that is not 0.
    losses = losses * counted if valid is None else ops.where(valid, losses, ops.zeros_like(losses))
    if sample_weight is not None:
        losses = losses * _weights_like(losses, sample_weight)
    return shared_evenly(ops.sum(losses) / ops.maximum(sum_over_replicas(ops.sum(counted)), 1.0))


def _weights_like(losses: Any, sample_weight: Any) -> Any:
    weights = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    rank = len(losses.shape)
    if len(weights.shape) == 2 and rank == 1 and weights.shape[1] == 1:
        weights = weights[:, 0]
    full, rows = tuple(losses.shape), (losses.shape[0], *(1,) * (rank - 1))
    if len(weights.shape) == 1:
        weights = ops.reshape(weights, (-1, *(1,) * (rank - 1)))
    if not any(fits(tuple(weights.shape), shape) for shape in (full, rows)):
        raise InputError(
            f"sample_weight must have one number for each row or for each label, so shape ({full[0]},) or {full}; got "
            f"{tuple(sample_weight.shape)}."
        )
    return weights


def token_labels(labels: Any, logits: Any, limit_name: str) -> tuple[Any, Any]:
    """Checks labels that are ids, one for each vector of logits.

    Args:
        labels: integers (batch, ...).
        logits: (batch, ..., classes).
        limit_name: what the number of classes is called in the configuration.

    Returns:
        The ids, int32, with 0 in place of -100; and which are not -100, boolean.

    Raises:
        InputError: when there is not one label for each vector, or a label is no class.
    """
    labels = ops.convert_to_tensor(labels)
    expected = tuple(logits.shape[:-1])
    if not fits(tuple(labels.shape), expected):
        raise InputError(
            f"labels must have shape {expected}, one for each position with logits, got {tuple(labels.shape)}."
        )
    labels = checked_ids(labels, ops.shape(logits)[-1], limit_name)
    valid = ops.not_equal(labels, IGNORED_LABEL)
    return ops.where(valid, labels, 0), valid


def token_losses(ids: Any, logits: Any) -> Any:
    """Returns the cross-entropy of each vector of logits.

    Args:
        ids: the right class of each, int32 (batch, ...).
        logits: float32 (batch, ..., classes).

    Returns:
        float32 (batch, ...), in nats.
    """
    if IS_TENSORFLOW:
        return own_gradients.cross_entropy(ids, logits)
    return keras.losses.sparse_categorical_crossentropy(ids, logits, from_logits=True)


def cross_entropy(labels: Any, logits: Any, limit_name: str, sample_weight: Any = None) -> Any:
    """Returns the mean cross-entropy over labels that are not -100.

    Args:
        labels, logits, limit_name: see `token_labels`.
        sample_weight: see `mean_loss`.

    Returns:
        float32 scalar; 0 when all labels are -100.

    Raises:
        InputError: see `token_labels` and `mean_loss`.
    """
    ids, valid = token_labels(labels, logits, limit_name)
    return mean_loss(token_losses(ids, ops.cast(logits, "float32")), sample_weight, valid)
