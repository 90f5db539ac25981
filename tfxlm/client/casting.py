"""Fitting what a user has to what a signature takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfxlm.client.dtypes import DType, dtype_of_array
from tfxlm.client.metadata import ModelMetadata, Signature
from tfxlm.client.tensors import to_bytes_array
from tfxlm.errors import InputError


def check_names(signature_name: str, signature: Signature, names: set[str]) -> None:
    """Refuses inputs that are missing or unknown.

    Raises:
        InputError: names the expected inputs and those that came.
    """
    expected = set(signature.inputs)
    if names == expected:
        return
    problems = [
        f"{problem}: {', '.join(map(repr, sorted(wrong)))}"
        for problem, wrong in (("missing", expected - names), ("unknown", names - expected))
        if wrong
    ]
    raise InputError(
        f"The inputs do not fit signature {signature_name!r} ({'; '.join(problems)}). Expected "
        + ", ".join(f"{name!r} ({spec})" for name, spec in signature.inputs.items())
        + f"; got {', '.join(map(repr, sorted(names))) or 'none'}."
    )


def find_signature(signatures: Mapping[str, Signature], signature_name: str) -> Signature:
    """Finds a signature by name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if signature_name not in signatures:
        raise InputError(
            f"The model has no signature {signature_name!r}; it has {', '.join(map(repr, signatures)) or 'none'}."
        )
    return signatures[signature_name]


def cast_inputs(
    metadata: ModelMetadata, signature_name: str, inputs: Mapping[str, Any]
) -> tuple[Signature, dict[str, np.ndarray]]:
    """Casts inputs to the data types of a signature, where nothing is lost.

    Shapes are left to the server.

    Args:
        metadata: the model's signatures.
        signature_name: signature to call.
        inputs: one array-like per input.

    Returns:
        The signature, and the inputs as arrays of its data types.

    Raises:
        InputError: unknown signature, missing or unknown inputs, ragged rows, or values that a cast would change.
    """
    signature = find_signature(metadata.signatures, signature_name)
    check_names(signature_name, signature, set(inputs))
    return signature, {name: _cast(inputs[name], spec.dtype, name) for name, spec in signature.inputs.items()}


def _cast(value: Any, dtype: DType, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"Input {name!r} is not a rectangular array: {error}. Pad its rows to the same length."
        ) from None
    if dtype.is_string and array.dtype.kind in "USO":
        # Not the array made above: numpy cuts trailing NUL bytes off strings of fixed length.
        return to_bytes_array(array if array.dtype.kind == "O" else np.asarray(value, dtype=object), name)
    given = dtype_of_array(array)
    if not array.size and not dtype.is_string and not given.is_string:
        return array.astype(dtype.numpy)  # an empty list has no type of its own
    if (given.is_integer and dtype.is_integer) or (given.is_float and dtype.is_float):
        _check_range(array, dtype, name)
        return array.astype(dtype.numpy)
    if given.is_integer and dtype.is_float:
        cast = array.astype(dtype.numpy)
        if np.array_equal(cast.astype(np.float64).astype(array.dtype), array):
            return cast
        raise InputError(f"Input {name!r}: some whole numbers cannot be written exactly as {dtype.name}.")
    if given != dtype:
        raise InputError(
            f"Input {name!r} takes {dtype.name}, got {given.name} values; convert them first if that is intended."
        )
    return array


def _check_range(array: np.ndarray, dtype: DType, name: str) -> None:
    """Refuses numbers outside the range of a data type."""
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        outside = (array < limits.min) | (array > limits.max)
    else:
        with np.errstate(over="ignore"):
            outside = np.isinf(array.astype(dtype.numpy)) & ~np.isinf(array.astype(np.float64))
    if outside.any():
        raise InputError(f"Input {name!r}: {array[outside].flat[0]} is outside the range of {dtype.name}.")
