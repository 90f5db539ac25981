"""`TensorProto` <-> numpy, against TensorFlow's own conversion."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfxlm.client import messages
from tfxlm.client.dtypes import DTYPES, STRING, DType
from tfxlm.client.tensors import declared_bytes, read_tensor, tensor_bytes, write_tensor
from tfxlm.errors import InputError


def sample(dtype: DType, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    generator = np.random.default_rng(3)
    if dtype.is_string:
        flat = np.empty(6, dtype=object)
        flat[:] = [b"", b"\x00", "ü".encode(), b"\xff\xfe", b"long" * 50, b"z"]
        return flat.reshape(2, 3) if shape == (2, 3) else flat[:1].reshape(shape)
    if dtype.name == "bool":
        return generator.random(shape) < 0.5
    if dtype.is_float:
        return generator.normal(size=shape).astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype.numpy, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(2, 3), ()], ids=["matrix", "scalar"])
def test_tensorflow_reads_what_we_write_and_we_read_what_it_writes(dtype: DType, shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    ours = messages.TensorProto()
    write_tensor(ours, array, "x")
    official = tensor_pb2.TensorProto.FromString(ours.SerializeToString())
    parsed = tf.io.parse_tensor(official.SerializeToString(), tf.as_dtype(official.dtype))  # the C++ reader
    np.testing.assert_array_equal(parsed.numpy(), array)
    assert tuple(parsed.shape) == shape

    theirs = tf.make_tensor_proto(array, tf.string if dtype is STRING else None)
    for proto in (theirs, ours):
        back = read_tensor(proto, "x")
        assert (back.dtype, back.shape) == (dtype.numpy, shape)
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_one_entry_per_value_with_the_last_repeated(dtype: DType) -> None:
    array = sample(dtype).reshape(-1)[:3]
    proto = messages.TensorProto(dtype=dtype.number)
    proto.tensor_shape.dim.add(size=5)
    stored = array.view(np.uint16) if dtype.field == "half_val" else array
    getattr(proto, dtype.field).extend(stored.tolist())
    expected = np.concatenate([array, array[-1:], array[-1:]])
    np.testing.assert_array_equal(read_tensor(proto, "x"), expected)
    parsed = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype))
    np.testing.assert_array_equal(parsed.numpy(), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_what_a_message_declares_is_what_its_array_takes(dtype: DType) -> None:
    whole, short = messages.TensorProto(), messages.TensorProto(dtype=dtype.number)
    write_tensor(whole, sample(dtype), "x")
    short.tensor_shape.dim.add(size=1000)
    getattr(short, dtype.field).extend([b"long"] if dtype.is_string else [1])
    for proto in (whole, short):
        assert declared_bytes(proto, "x") == tensor_bytes(read_tensor(proto, "x"))


def test_arrays_of_other_layouts_are_written_in_order() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    proto = messages.TensorProto()
    write_tensor(proto, array, "x")
    np.testing.assert_array_equal(read_tensor(proto, "x"), array)


def test_no_values_at_all() -> None:
    for dtype in DTYPES:
        proto = messages.TensorProto()
        write_tensor(proto, np.empty((0, 4), dtype.numpy), "x")
        back = read_tensor(proto, "x")
        assert (back.shape, back.dtype) == ((0, 4), dtype.numpy)


def test_text_is_utf8() -> None:
    proto = messages.TensorProto()
    write_tensor(proto, np.array(["ü", "日本"]), "x")
    assert list(proto.string_val) == ["ü".encode(), "日本".encode()]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1 + 2j]), r"Arrays of dtype complex128 cannot be sent; expected one of string, bool, float32"),
        (np.array(["2020"], "M8[Y]"), r"Arrays of dtype datetime64\[Y\] cannot be sent"),
        (np.array(["a", 7], dtype=object), r"Input 'x': expected text or bytes at position 1, got int"),
        (np.array(["\ud800"], dtype=object), r"Input 'x': the text at position 0 is not valid Unicode"),
    ],
)
def test_arrays_that_cannot_be_sent(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_tensor(messages.TensorProto(), array, "x")


def test_values_outside_the_type() -> None:
    proto = messages.TensorProto(dtype="DT_INT8", int_val=[1, 300], tensor_shape={"dim": [{"size": 2}]})
    with pytest.raises(InputError, match=r"'x' holds values from 1 to 300; int8 takes -128 to 127"):
        read_tensor(proto, "x")
    proto = messages.TensorProto(dtype="DT_HALF", half_val=[-1], tensor_shape={"dim": [{"size": 1}]})
    with pytest.raises(InputError, match=r"'x' holds values from -1 to -1; uint16 takes 0 to 65535"):
        read_tensor(proto, "x")


def test_the_limit_counts_bytes_of_the_array() -> None:
    proto = messages.TensorProto(dtype="DT_DOUBLE", double_val=[1], tensor_shape={"dim": [{"size": 100}]})
    assert read_tensor(proto, "x", max_bytes=800).shape == (100,)
    with pytest.raises(InputError, match=r"'x' declares shape \(100,\), which takes 800 bytes; at most 799"):
        read_tensor(proto, "x", max_bytes=799)


def test_the_limit_counts_repeated_strings() -> None:
    proto = messages.TensorProto(dtype="DT_STRING", string_val=[b"x" * 100], tensor_shape={"dim": [{"size": 50}]})
    assert tensor_bytes(read_tensor(proto, "x", max_bytes=4900)) == 50 * 108
    with pytest.raises(InputError, match=r"for which its last string is repeated to 4900 bytes; at most 4899"):
        read_tensor(proto, "x", max_bytes=4899)


def test_half_precision_is_bit_exact() -> None:
    for kind in (np.float16, ml_dtypes.bfloat16):
        bits = np.arange(65536, dtype=np.uint32).astype(np.uint16)
        proto = messages.TensorProto()
        write_tensor(proto, bits.view(kind), "x")
        assert read_tensor(proto, "x").tobytes() == bits.tobytes()
