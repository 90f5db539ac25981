"""Rows for the Classify and Regress interfaces: `tf.train.Example` messages without TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxlm.client.json_tensors import to_json
from tfxlm.client.tensors import to_bytes_array
from tfxlm.errors import InputError

Features = Mapping[str, np.ndarray]

# The lists that a feature can be, by what numpy makes of its values.
_INT64, _FLOAT32 = np.iinfo(np.int64), np.finfo(np.float32)


@dataclass(frozen=True)
class Examples:
    """Checked rows.

    Args:
        rows: features by name for each row: rank-1 arrays of int64, float32, or `bytes` objects.
        context: features that all rows share; None where there are none.
    """

    rows: tuple[Features, ...]
    context: Features | None = None


def read_examples(examples: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None) -> Examples:
    """Checks rows as a user has them.

    Args:
        examples: for each row its features by name: text, bytes, a number, or a list of one kind of them.
        context: features that all rows share.

    Raises:
        InputError: something is not a row of features, or a feature holds what no example can.
    """
    if isinstance(examples, (str, bytes, Mapping)) or not isinstance(examples, Iterable):
        raise InputError(
            f'examples must be a list with a mapping for each row, such as [{{"text": "Hello"}}]; got '
            f"{type(examples).__name__}."
        )
    rows = tuple(_row(row, f"examples[{number}]") for number, row in enumerate(examples))
    return Examples(rows, None if context is None else _row(context, "context"))


def _row(row: Any, place: str) -> Features:
    if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
        raise InputError(f"{place} must map names of features to values, got {type(row).__name__}.")
    return {name: _feature(value, f"{place}[{name!r}]") for name, value in row.items()}


def _feature(value: Any, place: str) -> np.ndarray:
    """Turns a value or a list of values into a rank-1 array of one of the three kinds."""
    listed = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    try:
        # Strings stay objects: numpy cuts trailing NUL bytes off strings of fixed length.
        entries = np.array([*value] if listed else [value], dtype=object)
        if entries.ndim != 1:
            raise ValueError("it has lists in it")
        array = np.array(entries.tolist()) if entries.size else np.zeros(0, np.int64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{place} must be one value or a flat list of them: {error}.") from None
    if array.dtype.kind in "US" or any(isinstance(entry, (str, bytes)) for entry in entries):
        return to_bytes_array(entries, place)
    if array.dtype.kind in "biu":
        if array.dtype.kind == "u" and array.size and array.max() > _INT64.max:
            raise InputError(f"{place}: {array.max()} is outside the range of int64.")
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if (np.isfinite(array) & (np.abs(array) > _FLOAT32.max)).any():
            raise InputError(f"{place} holds a number outside the range of float32.")
        return array.astype(np.float32)
    raise InputError(f"{place} must hold text, bytes, whole numbers or floats; got {value!r}.")


def fill_input(message: Any, examples: Examples) -> None:
    """Writes rows into an `Input` message."""
    if examples.context is None:
        message.example_list.SetInParent()
        target = message.example_list
    else:
        target = message.example_list_with_context
        _fill_example(target.context, examples.context)
    for row in examples.rows:
        _fill_example(target.examples.add(), row)


def _fill_example(message: Any, features: Features) -> None:
    message.features.SetInParent()
    for name, array in features.items():
        feature = message.features.feature[name]
        target = {"O": feature.bytes_list, "i": feature.int64_list, "f": feature.float_list}[array.dtype.kind]
        target.SetInParent()
        target.value.extend(array.tolist())


def examples_json(examples: Examples) -> dict[str, Any]:
    """Returns rows as the REST interface takes them."""
    written: dict[str, Any] = {"examples": [_features_json(row) for row in examples.rows]}
    if examples.context is not None:
        written["context"] = _features_json(examples.context)
    return written


def _features_json(features: Features) -> dict[str, Any]:
    return {name: to_json(array) for name, array in features.items()}
