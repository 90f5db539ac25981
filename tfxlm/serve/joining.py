"""Which requests may travel together, and how: rows of several requests in one call, answers taken apart again."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfxlm.client.metadata import Signature, TensorSpec

Arrays = Mapping[str, np.ndarray]

# Inputs that say how much of a row is real: where a signature has one, what stands behind does not matter.
COUNTS = ("lengths", "num_words", "num_choices")

# The inner shapes of the inputs that requests must have in common, or None where they may differ.
Likeness = tuple[tuple[int, ...], ...] | None


def _has_rows(spec: TensorSpec) -> bool:
    return bool(spec.shape) and spec.shape is not None and spec.shape[0] is None


def _varies(specs: Mapping[str, TensorSpec]) -> bool:
    """Tells whether rows of these can have different sizes."""
    return any(spec.shape is not None and None in spec.shape[1:] for spec in specs.values())


class Joining:
    """How requests for one signature are joined.

    Rows are independent of each other where every input and output has one entry for each row. Answers whose size the
    content of other rows can change, such as one score for each mask of a text, are no such answers.

    Args:
        signature: the signature.
        pad: whether rows of different sizes may be filled up to the largest, where the signature says how long each is.
    """

    def __init__(self, signature: Signature, pad: bool) -> None:
        specs = [*signature.inputs.values(), *signature.outputs.values()]
        self.possible = bool(signature.inputs) and all(map(_has_rows, specs))
        if _varies(signature.outputs):
            self.possible &= _varies(signature.inputs)
            pad = False  # the answer would be as long as the longest row of the batch
        self._fills = pad and any(name in COUNTS for name in signature.inputs)

    def rows(self, inputs: Arrays) -> int:
        """Returns how many rows a request has; 0 for one that cannot travel with others."""
        sizes = {len(array) if array.ndim else 0 for array in inputs.values()}
        return sizes.pop() if self.possible and len(sizes) == 1 else 0

    def likeness(self, inputs: Arrays) -> Likeness:
        """Returns what requests that travel together have in common."""
        return None if self._fills else tuple(inputs[name].shape[1:] for name in sorted(inputs))


def join(requests: Sequence[Arrays], rows: int) -> dict[str, np.ndarray]:
    """Joins requests.

    Args:
        requests: the inputs of each; rows of different sizes are filled up with the first entry of their input, which
            is what TensorFlow Serving takes: every value in it is one that the model knows.
        rows: how many there must be in all; copies of the first fill the rest up.

    Returns:
        The inputs of all.
    """
    joined = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        inner = tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))
        whole = np.concatenate([_filled(array, inner) for array in arrays])
        if len(whole) < rows:
            whole = np.concatenate([whole, np.repeat(whole[:1], rows - len(whole), axis=0)])
        joined[name] = whole
    return joined


def _filled(array: np.ndarray, inner: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == inner:
        return array
    nothing = b"" if array.dtype == object else 0
    filled = np.full((len(array), *inner), array.flat[0] if array.size else nothing, dtype=array.dtype)
    filled[tuple(map(slice, array.shape))] = array
    return filled


def split(outputs: Arrays, sizes: Sequence[int], rows: int) -> list[dict[str, np.ndarray]] | None:
    """Takes the answer to joined requests apart.

    Args:
        outputs: the answer.
        sizes: the rows of each request.
        rows: how many rows the model was asked with; those behind the requests' are dropped.

    Returns:
        The outputs of each, or None when an output has not one entry for each row, and cannot be taken apart.
    """
    if any(array.ndim == 0 or len(array) != rows for array in outputs.values()):
        return None
    ends = np.cumsum(sizes).tolist()
    return [
        {name: array[end - size : end] for name, array in outputs.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]
