"""Language modeling: which positions reach the output layer."""

from __future__ import annotations

import operator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfxlm.backend import check_range, to_int32
from tfxlm.errors import InputError
from tfxlm.heads.labels import fits


def chosen_positions(batch: Any, length: Any, masked_positions: Any = None, logits_to_keep: Any = None) -> Any:
    """Returns the positions whose logits are wanted, so that no others are computed.

    Args:
        batch, length: the grid's sizes, numbers or scalar tensors.
        masked_positions: (batch, P) integers, other positions for each row; or None.
        logits_to_keep: an int n keeps the last n positions (0 keeps all); a (P,) integer tensor keeps those
            positions of every row; None keeps all.

    Returns:
        (batch, P) int32, or None for all positions.

    Raises:
        InputError: when both are given, have a wrong shape, or are past the end.
    """
    if masked_positions is not None and logits_to_keep is not None:
        raise InputError("masked_positions and logits_to_keep both choose positions; give one of them.")
    if masked_positions is not None:
        positions = _checked(masked_positions, length, "masked_positions", ("batch", "P"))
        if isinstance(batch, int) and not fits(tuple(positions.shape), (batch, None)):
            raise InputError(f"masked_positions must have {batch} rows, as the batch has, got {positions.shape[0]}.")
        return positions
    count = 0 if logits_to_keep is None else _count(logits_to_keep)
    if count is None:
        positions = _checked(logits_to_keep, length, "logits_to_keep", ("P",))
    elif count:
        first = max(length - count, 0) if isinstance(length, int) else ops.maximum(length - count, 0)
        positions = ops.arange(first, length, dtype="int32")
    else:
        return None
    return ops.broadcast_to(positions[None, :], (batch, ops.shape(positions)[0]))


def _count(logits_to_keep: Any) -> int | None:
    """Returns `logits_to_keep` as a number, None when it holds positions."""
    is_flag = isinstance(logits_to_keep, bool | np.bool_)
    try:
        count = operator.index(logits_to_keep)
    except TypeError:
        count = None
    if is_flag or (count is not None and count < 0):
        raise InputError(f"logits_to_keep must be 0 (all), a count, or positions; got {logits_to_keep}.")
    return count


def _checked(positions: Any, length: Any, name: str, axes: tuple[str, ...]) -> Any:
    positions = ops.convert_to_tensor(positions)
    dtype = keras.backend.standardize_dtype(positions.dtype)
    if len(positions.shape) != len(axes) or not keras.backend.is_int_dtype(dtype):
        raise InputError(
            f"{name} must be integers with axes ({', '.join(axes)}), got {dtype} of shape {tuple(positions.shape)}."
        )
    return check_range(to_int32(positions), length, f"{name} must be positions within the sequence.")
