"""JSON <-> numpy beyond what the served forms show."""

import json

import numpy as np
import pytest

from tfxlm.client.dtypes import DTYPES
from tfxlm.client.json_tensors import from_json, to_json
from tfxlm.client.metadata import TensorSpec
from tfxlm.errors import InputError

BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def spec(dtype: str, shape: tuple[int | None, ...] | None = None) -> TensorSpec:
    return TensorSpec(BY_NAME[dtype], shape)


def test_nested_lists_keep_their_shape() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(from_json(to_json(array), spec("int64", (2, None, 4)), "x"), array)
    assert from_json([[], []], spec("int64", (None, None)), "x").shape == (2, 0)
    assert from_json(5, spec("int64", ()), "x").shape == ()


def test_open_rank() -> None:
    assert from_json([[1]], spec("int32"), "x").shape == (1, 1)
    nested: object = 1
    for _ in range(40):
        nested = [nested]
    with pytest.raises(InputError, match=r"'x' must be int32 of any shape; got 40 levels of lists"):
        from_json(nested, spec("int32"), "x")


def test_fixed_sizes() -> None:
    with pytest.raises(InputError, match=r"'x' must be int32 of shape \(any, 3\); got shape \(1, 2\)"):
        from_json([[1, 2]], spec("int32", (None, 3)), "x")


def test_the_row_and_position_of_the_culprit_are_named() -> None:
    value = np.zeros((2, 3, 4), int).tolist()
    value[1][2][3] = 0.5
    with pytest.raises(InputError, match=r"'x', row 1 \(position \[1\]\[2\]\[3\]\): expected a whole number .* 0\.5"):
        from_json(value, spec("int32", (None, None, None)), "x")
    value[1][2] = [0]
    with pytest.raises(InputError, match=r"'x', row 1 \(position \[1\]\[2\]\): expected a list of 4 .*got a list of 1"):
        from_json(value, spec("int32", (None, None, None)), "x")


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("float16", 2**11 - 1), ("bfloat16", 2**8 - 1), ("float32", 2**24 - 1), ("float64", 2**53 - 1)],
)
def test_whole_numbers_are_taken_for_floats_while_exact(dtype: str, largest: int) -> None:
    for value in (largest, -largest):
        assert from_json([value], spec(dtype), "x").astype(np.float64)[0] == value
    for value in (largest + 2, -largest - 2, 10**400):
        with pytest.raises(InputError, match=rf"a number that {dtype} holds exactly \(whole numbers up to {largest}\)"):
            from_json([value], spec(dtype), "x")


def test_text_and_bytes() -> None:
    array = np.array([b"ok", b"\xff", "ü".encode()], dtype=object)
    assert to_json(array) == ["ok", {"b64": "/w=="}, "ü"]
    assert to_json(array, binary=True) == [{"b64": "b2s="}, {"b64": "/w=="}, {"b64": "w7w="}]
    assert to_json(np.array(["ü"])) == ["ü"]
    for form in (to_json(array), to_json(array, binary=True)):
        assert from_json(json.loads(json.dumps(form)), spec("string", (None,)), "x").tolist() == array.tolist()
