"""What is cast to a signature's data types, and what is refused."""

from typing import Any

import numpy as np
import pytest

from tfxlm.client.casting import cast_inputs
from tfxlm.client.dtypes import DTYPES
from tfxlm.client.metadata import ModelMetadata, Signature, TensorSpec
from tfxlm.errors import InputError

BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def cast(value: Any, dtype: str) -> np.ndarray:
    signature = Signature({"x": TensorSpec(BY_NAME[dtype], None)}, {})
    return cast_inputs(ModelMetadata("m", 1, {"s": signature}), "s", {"x": value})[1]["x"]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (np.array([1, 2]), "int32", np.array([1, 2], np.int32)),
        ([[1, 2]], "uint8", np.array([[1, 2]], np.uint8)),
        ([1.5], "float32", np.array([1.5], np.float32)),
        ([1, 2], "float32", np.array([1, 2], np.float32)),
        ([np.nan, np.inf], "float16", np.array([np.nan, np.inf], np.float16)),
        ([True], "bool", np.array([True])),
        ([], "int32", np.array([], np.int32)),
        (7, "int64", np.array(7)),
    ],
)
def test_casts_that_lose_nothing(value: Any, dtype: str, expected: np.ndarray) -> None:
    array = cast(value, dtype)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("value", [["a", "b\0"], [b"a", b"b\0"], np.array(["a", "b\0"], dtype=object), ["a", b"b\0"]])
def test_strings_keep_every_byte(value: Any) -> None:
    assert cast(value, "string").tolist() == [b"a", b"b\0"]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([2**31], "int32", r"Input 'x': 2147483648 is outside the range of int32"),
        ([[0, -1]], "uint8", r"Input 'x': -1 is outside the range of uint8"),
        ([1.0], "int32", r"Input 'x' takes int32, got float64 values; convert them first"),
        ([True], "int32", r"Input 'x' takes int32, got bool values"),
        (["1"], "int32", r"Input 'x' takes int32, got string values"),
        ([1], "string", r"Input 'x' takes string, got int64 values"),
        ([1], "bool", r"Input 'x' takes bool, got int64 values"),
        ([1e300], "float32", r"Input 'x': 1e\+300 is outside the range of float32"),
        ([2**24 + 1], "float32", r"some whole numbers cannot be written exactly as float32"),
        ([[1, 2], [3]], "int32", r"Input 'x' is not a rectangular array: .*Pad its rows to the same length"),
        ([None], "string", r"Input 'x': expected text or bytes at position 0, got NoneType"),
    ],
)
def test_casts_that_would_change_something(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cast(value, dtype)


def test_names_are_compared_with_the_signature() -> None:
    spec = TensorSpec(BY_NAME["int32"], (None, 4))
    metadata = ModelMetadata("m", 1, {"s": Signature({"a": spec, "b": spec}, {})})
    message = r"signature 's' \(missing: 'b'; unknown: 'c', 'd'\). Expected 'a' \(int32 of shape \(any, 4\)\), 'b'"
    with pytest.raises(InputError, match=message):
        cast_inputs(metadata, "s", {"a": [], "c": [], "d": []})
    with pytest.raises(InputError, match=r"got none\."):
        cast_inputs(metadata, "s", {})
    with pytest.raises(InputError, match=r"The model has no signature 't'; it has 's'\."):
        cast_inputs(metadata, "t", {})
