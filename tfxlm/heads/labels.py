"""What all losses ask of labels that are ids."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range, to_int32
from tfxlm.errors import InputError

IGNORED_LABEL = -100


def fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether two shapes agree as far as they are known."""
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def is_integer(labels: Any) -> bool:
    """Whether labels are of an integer type; booleans are not."""
    return keras.backend.is_int_dtype(keras.backend.standardize_dtype(labels.dtype))


def token_places(labels: Any, batch: Any, length: Any) -> Any:
    """Checks that there is one label for each token.

    Args:
        labels: of any shape.
        batch, length: of the tokens, numbers or, where a graph does not know them yet, int32 scalars.

    Returns:
        The labels.

    Raises:
        InputError: when their shape is another (where a graph learns it only when it runs, see
            `tfxlm.backend.check_range`).
    """
    grid = (batch, length)
    expected = tuple(size if isinstance(size, int) else None for size in grid)
    message = f"labels must have shape {expected}, one for each position with logits"
    if not fits(tuple(labels.shape), expected):
        raise InputError(f"{message}, got {tuple(labels.shape)}.")
    pairs = list(zip(ops.shape(labels), grid, strict=True))
    # Keras asks for output shapes with tensors whose sizes are None.
    sizes = [size for pair in pairs for size in pair]
    if any(size is None for size in sizes) or all(isinstance(size, int) for size in sizes):
        return labels
    differences = [found - size for found, size in pairs]
    # Zeros: what makes the check a part of the graph.
    zeros = check_range(ops.stack(differences), 1, f"{message}, but the inputs have another.")
    return labels + ops.cast(ops.sum(zeros), labels.dtype)


def checked_ids(labels: Any, limit: Any, name: str) -> Any:
    """Checks labels that are ids.

    Args:
        labels: integers of any shape.
        limit: how many ids there are, a number or, where a graph does not know it yet, an int32 scalar;
            `IGNORED_LABEL` may stand beside them.
        name: what the limit is called in the configuration.

    Returns:
        The labels, int32.

    Raises:
        InputError: when they are not integers, or out of range (see `tfxlm.backend.check_range`).
    """
    if not is_integer(labels):
        dtype = keras.backend.standardize_dtype(labels.dtype)
        raise InputError(f"labels must be integers, got {dtype} of shape {tuple(labels.shape)}.")
    labels = to_int32(labels)
    ignored = ops.equal(labels, IGNORED_LABEL)
    size = f"{name} = {limit}" if isinstance(limit, int) else name
    message = f"labels must be in [0, {size}), or {IGNORED_LABEL} for those that do not count."
    return ops.where(ignored, labels, check_range(ops.where(ignored, 0, labels), limit, message))
