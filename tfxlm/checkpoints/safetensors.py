"""The safetensors format: a JSON header with names, dtypes, shapes and byte ranges, then the bytes.

The `safetensors` library copies every tensor out of the file and does not say where it lies; loading with one copy of
the model needs views of a memory map whose pages can be given back. Hence this reader, which checks what the library
checks: https://huggingface.co/docs/safetensors.

The format has no checksum: a flipped byte in a tensor is a wrong number that no reader can notice. Whoever needs to
know compares the file with the hash that its publisher states.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from tfxlm.checkpoints.arrays import MAX_DIMS, TensorEntry, is_text
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.errors import CorruptFileError, UnsupportedFileError

MAX_HEADER_BYTES = 100_000_000  # the library's limit
# A list takes fifty times the three bytes that ask for it. Each tensor has three brackets, in fifty bytes and more.
_SOME_BRACKETS, _BYTES_PER_BRACKET = 100_000, 12

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
# By the names that options have for them.
FLOATS: dict[str, np.dtype] = {dtype.name: dtype for dtype in DTYPES.values() if dtype.kind not in "iub"}
# In the format, but with no use in the checkpoints of this family.
_OTHER_DTYPES = {"U64", "U32", "U16", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"}


def read_safetensors(file: MappedFile) -> dict[str, TensorEntry]:
    """Reads the header of a safetensors file.

    Args:
        file: the mapped file.

    Returns:
        The tensors by name, in the order of the header.

    Raises:
        CorruptFileError: the file is truncated or contradicts itself.
        UnsupportedFileError: a tensor has a dtype that is not supported, or the file is one of TensorFlow classes.
    """
    length = int.from_bytes(file.map[:8], "little")
    if file.size < 8 or length > MAX_HEADER_BYTES or 8 + length > file.size:
        raise CorruptFileError(
            f"'{file.path}' is truncated or not a safetensors file: its first 8 bytes promise a header of {length} "
            f"bytes, the file has {file.size}. Download it again."
        )
    header = _parse_header(file, file.map[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _corrupt(file, "'__metadata__' is not a mapping of strings")
    if metadata.get("format") == "tf":
        raise UnsupportedFileError(
            f"'{file.path}' was written by a TensorFlow class of transformers, under names and in shapes of its own. "
            "With transformers 4, copy the model into its PyTorch class (load_tf2_model_in_pytorch_model), and save it."
        )
    entries = {name: _entry(file, 8 + length, name, spec) for name, spec in header.items()}
    _check_layout(file, 8 + length, entries)
    return entries


def _corrupt(file: MappedFile, what: str) -> CorruptFileError:
    return CorruptFileError(f"'{file.path}' has a corrupt safetensors header: {what}. Download it again.")


def _parse_header(file: MappedFile, data: bytes) -> dict[str, Any]:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _corrupt(file, f"the name '{key}' occurs twice")
            found[key] = value
        return found

    if not data.startswith(b"{"):
        raise _corrupt(file, "it does not start with '{'")
    if data.count(b"{") + data.count(b"[") > _SOME_BRACKETS + len(data) // _BYTES_PER_BRACKET:
        raise _corrupt(file, "it has more lists and objects than those of tensors")
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except CorruptFileError:
        raise
    except RecursionError as error:
        raise _corrupt(file, "it is nested too deeply") from error
    except ValueError as error:
        raise _corrupt(file, f"it is not JSON ({error})") from error
    return header  # an object, as it starts with "{"


def _is_sizes(value: Any) -> bool:
    # `type`, because a JSON true is an int to isinstance. The limits keep products of them cheap.
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMS
        and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
    )


def _entry(file: MappedFile, start: int, name: str, spec: Any) -> TensorEntry:
    if not isinstance(spec, dict) or spec.keys() != {"dtype", "shape", "data_offsets"}:
        raise _corrupt(file, f"tensor '{name}' needs exactly 'dtype', 'shape' and 'data_offsets'")
    kind, shape, offsets = spec["dtype"], spec["shape"], spec["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        if isinstance(kind, str) and kind in _OTHER_DTYPES:
            raise UnsupportedFileError(
                f"'{file.path}': tensor '{name}' has the dtype {kind}. Supported are {', '.join(DTYPES)}: convert the "
                "checkpoint to one of them, e.g. to F16."
            )
        raise _corrupt(file, f"tensor '{name}' has an unknown dtype")
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _corrupt(file, f"tensor '{name}' has a malformed shape or malformed offsets")
    if not is_text(name):
        raise _corrupt(file, f"tensor {name!r:.60} has a name that is not text")
    dtype = DTYPES[kind]
    needed = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != needed:
        raise _corrupt(
            file,
            f"tensor '{name}' is {kind} of shape {tuple(shape)}, {needed} bytes, but has {offsets[1] - offsets[0]}",
        )
    entry = TensorEntry(file, tuple(shape), dtype, start + offsets[0])
    entry.check(f"tensor '{name}'")
    return entry


def _check_layout(file: MappedFile, start: int, entries: dict[str, TensorEntry]) -> None:
    """Tensors fill the file without gaps or overlaps, as the format demands."""
    end = start
    for name, entry in sorted(entries.items(), key=lambda item: item[1].span):
        first, last = entry.span
        if first != end:
            raise _corrupt(file, f"tensor '{name}' {'overlaps another' if first < end else 'follows a gap'}")
        end = last
    if end != file.size:
        raise _corrupt(file, f"{file.size - end} bytes at the end of the file belong to no tensor")
