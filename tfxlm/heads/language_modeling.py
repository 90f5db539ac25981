"""Language modeling: which positions reach the output layer, and the loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range
from tfxlm.errors import InputError

IGNORED_LABEL = -100


def select_positions(hidden_states: Any, masked_positions: Any = None, logits_to_keep: Any = None) -> Any:
    """Keeps the positions whose logits are wanted, so that the output layer computes no others.

    Args:
        hidden_states: (batch, length, dim).
        masked_positions: (batch, P) integers, other positions for each row; or None.
        logits_to_keep: an int n keeps the last n positions (0 keeps all); a (P,) integer tensor keeps those
            positions of every row; None keeps all.

    Returns:
        (batch, P, dim), or `hidden_states` itself.

    Raises:
        InputError: when both are given, have a wrong shape, or are past the end.
    """
    if masked_positions is not None and logits_to_keep is not None:
        raise InputError("masked_positions and logits_to_keep both choose positions; give one of them.")
    length = ops.shape(hidden_states)[1]
    if masked_positions is not None:
        positions = _checked(masked_positions, length, "masked_positions", ("batch", "P"))
        return ops.take_along_axis(hidden_states, positions[:, :, None], axis=1)
    if logits_to_keep is None or (isinstance(logits_to_keep, int) and logits_to_keep == 0):
        return hidden_states
    if isinstance(logits_to_keep, int):
        if logits_to_keep < 0:
            raise InputError(f"logits_to_keep must be 0 (all), a count, or positions; got {logits_to_keep}.")
        return hidden_states[:, -logits_to_keep:]
    return ops.take(hidden_states, _checked(logits_to_keep, length, "logits_to_keep", ("P",)), axis=1)


def _checked(positions: Any, length: Any, name: str, axes: tuple[str, ...]) -> Any:
    positions = ops.cast(ops.convert_to_tensor(positions), "int32")
    if len(positions.shape) != len(axes):
        raise InputError(f"{name} must have axes ({', '.join(axes)}), got shape {tuple(positions.shape)}.")
    return check_range(positions, length, f"{name} must be positions within the sequence.")


def language_modeling_loss(labels: Any, logits: Any, sample_weight: Any = None) -> Any:
    """Returns the mean cross-entropy over positions whose label is not -100. Labels are not shifted.

    Args:
        labels: (batch, P) integers.
        logits: (batch, P, vocab_size).
        sample_weight: (batch,) or (batch, P), or None.

    Returns:
        float32 scalar.

    Raises:
        InputError: when there is not one label for each position.
    """
    positions = tuple(logits.shape[:-1])
    fits = len(labels.shape) == len(positions) and all(
        a is None or b is None or a == b for a, b in zip(labels.shape, positions, strict=True)
    )
    if not fits:
        raise InputError(
            f"labels must have shape {positions}, one for each position with logits, got {tuple(labels.shape)}."
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED_LABEL, dtype="float32")
    if sample_weight is not None and len(sample_weight.shape) == 1:
        sample_weight = sample_weight[:, None]
    return loss(labels, ops.cast(logits, "float32"), sample_weight)
