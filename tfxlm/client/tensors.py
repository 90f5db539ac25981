"""`TensorProto` messages <-> numpy arrays, checked before anything is allocated.

Works with the official message class and with ours: both have the same fields.
"""

import math
from typing import Any

import numpy as np

from tfxlm.client.dtypes import DType, dtype_of_array, dtype_of_number
from tfxlm.errors import InputError

# numpy's own limit is 64 dimensions; no model comes near this one.
MAX_RANK = 32


def to_bytes_array(array: np.ndarray, name: str) -> np.ndarray:
    """Turns an array of text or byte strings into an object array of `bytes` of the same shape.

    Args:
        array: array of dtype `str`, `bytes` or `object`.
        name: input name, for error messages.

    Raises:
        InputError: an entry is neither text nor bytes, or the text cannot be written as UTF-8.
    """
    flat = np.empty(array.size, dtype=object)
    for position, entry in enumerate(array.reshape(-1).tolist()):
        if isinstance(entry, str):
            try:
                entry = entry.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"Input {name!r}: the text at position {position} is not valid Unicode: {error}."
                ) from None
        if not isinstance(entry, bytes):
            raise InputError(
                f"Input {name!r}: expected text or bytes at position {position}, got {type(entry).__name__}."
            )
        flat[position] = entry
    return flat.reshape(array.shape)


def write_tensor(proto: Any, array: np.ndarray, name: str) -> None:
    """Writes an array into an empty `TensorProto`.

    Args:
        proto: message to fill.
        array: values, any shape.
        name: tensor name, for error messages.

    Raises:
        InputError: the array's dtype has no counterpart.
    """
    dtype = dtype_of_array(array)
    proto.dtype = dtype.number
    # Made even for a single value: an absent shape would be read as an unknown one by some clients.
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype.is_string:
        proto.string_val.extend(to_bytes_array(array, name).reshape(-1).tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array, dtype=dtype.numpy.newbyteorder("<")).tobytes()


def read_tensor(proto: Any, name: str, max_bytes: int | None = None) -> np.ndarray:
    """Reads a `TensorProto`.

    A message may hold fewer values than its shape asks for: the last one is then repeated, as TensorFlow does.

    Args:
        proto: message to read.
        name: tensor name, for error messages.
        max_bytes: largest array to make, in bytes; `None` for no limit.

    Returns:
        Array of the declared shape; strings as an object array of `bytes`.

    Raises:
        InputError: shape and content contradict each other, or the array would be too large.
    """
    dtype = dtype_of_number(proto.dtype)
    shape = _declared_shape(proto, name)
    size = math.prod(shape)
    if max_bytes is not None and size * dtype.numpy.itemsize > max_bytes:
        raise InputError(
            f"Tensor {name!r} declares shape {shape}, which takes {size * dtype.numpy.itemsize} bytes; at most "
            f"{max_bytes} are accepted. Send fewer or shorter rows per request."
        )
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, shape, name)
    values = getattr(proto, dtype.field)
    if len(values) > size or (size and not values):
        raise InputError(f"Tensor {name!r} declares shape {shape}, {size} values, but holds {len(values)}.")
    flat = _from_values(values, dtype, name)
    if len(flat) < size:
        copies = (size - len(flat)) * len(flat[-1]) if dtype.is_string else 0
        if max_bytes is not None and copies > max_bytes:
            raise InputError(
                f"Tensor {name!r} declares shape {shape}, for which its last string is repeated to {copies} bytes; at "
                f"most {max_bytes} are accepted. Send fewer or shorter rows per request."
            )
        flat = np.concatenate([flat, np.full(size - len(flat), flat[-1], dtype=dtype.numpy)])
    return flat.reshape(shape)


def declared_bytes(proto: Any, name: str) -> int:
    """Returns how much memory the array of a `TensorProto` takes, which a message of a few bytes may make large.

    Args:
        proto: message to be read.
        name: tensor name, for error messages.

    Raises:
        InputError: it does not say its shape, or has a type that cannot be read.
    """
    dtype, size = dtype_of_number(proto.dtype), math.prod(_declared_shape(proto, name))
    if not dtype.is_string:
        return size * dtype.numpy.itemsize
    values = proto.string_val
    repeated = (size - len(values)) * len(values[-1]) if values else 0
    return size * dtype.numpy.itemsize + sum(map(len, values)) + max(0, repeated)


def tensor_bytes(array: np.ndarray) -> int:
    """Returns how much memory an array takes, its strings included, each of which counts where it stands."""
    return array.nbytes + (sum(map(len, array.flat)) if array.dtype == object else 0)


def _declared_shape(proto: Any, name: str) -> tuple[int, ...]:
    """Reads the shape a tensor claims to have."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InputError(f"Tensor {name!r} does not say its shape; every dimension needs a size of 0 or more.")
    if len(shape) > MAX_RANK:
        raise InputError(f"Tensor {name!r} declares {len(shape)} dimensions; at most {MAX_RANK} are accepted.")
    return shape


def _from_content(content: bytes, dtype: DType, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Reads values packed into `tensor_content`: little-endian, last dimension fastest."""
    if dtype.is_string:
        raise InputError(f"Tensor {name!r}: strings belong into string_val, got tensor_content.")
    expected = math.prod(shape) * dtype.numpy.itemsize
    if len(content) != expected:
        raise InputError(
            f"Tensor {name!r} declares {dtype.name} of shape {shape}, {expected} bytes, but holds {len(content)}."
        )
    packed = np.frombuffer(content, dtype=dtype.numpy.newbyteorder("<"))
    return packed.astype(dtype.numpy).reshape(shape)


def _from_values(values: Any, dtype: DType, name: str) -> np.ndarray:
    """Reads one entry per value. Half precision travels as the bits of each number in an int32."""
    if dtype.is_string:
        flat = np.empty(len(values), dtype=object)
        flat[:] = list(values)
        return flat
    stored = np.array(values, dtype=np.int64 if dtype.field in ("int_val", "half_val") else dtype.numpy)
    if dtype.field == "half_val":
        _check_range(stored, np.dtype(np.uint16), name)
        return stored.astype(np.uint16).view(dtype.numpy)
    if dtype.field == "int_val":
        _check_range(stored, dtype.numpy, name)
    return stored.astype(dtype.numpy)


def _check_range(values: np.ndarray, dtype: np.dtype, name: str) -> None:
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise InputError(
            f"Tensor {name!r} holds values from {values.min()} to {values.max()}; {dtype} takes {limits.min} to "
            f"{limits.max}."
        )
