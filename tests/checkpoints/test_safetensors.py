"""The safetensors reader against the library, and files that contradict themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import one_of_each, random_array, same
from tfxlm.checkpoints import TensorInfo, open_checkpoint
from tfxlm.errors import CorruptFileError, TFXLMError, UnsupportedFileError


def write(folder: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(
        (len(text) if length is None else length).to_bytes(8, "little") + text + data
    )
    return folder


def spec(dtype: Any, shape: Any, *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_reads_what_the_library_wrote(tmp_path: Path) -> None:
    arrays = one_of_each()
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path) as checkpoint:
        assert set(checkpoint.names()) == set(checkpoint) == set(arrays)
        assert len(checkpoint) == len(arrays)
        assert "layer.float16" in checkpoint
        assert "layer.complex" not in checkpoint
        assert checkpoint.size == sum(array.nbytes for array in arrays.values())
        assert checkpoint.files == (tmp_path / "model.safetensors",)
        for name, array in arrays.items():
            assert checkpoint.info(name) == TensorInfo(array.shape, array.dtype)
            assert same(checkpoint.read(name), array), name


def test_unaligned_tensors_are_copied(tmp_path: Path) -> None:
    odd, after = random_array((3,), "int8"), random_array((2, 2))
    header = {"odd": spec("I8", [3], 0, 3), "after": spec("F32", [2, 2], 3, 19)}
    write(tmp_path, header, odd.tobytes() + after.tobytes())
    with open_checkpoint(tmp_path) as checkpoint:
        array = checkpoint.read("after")
    assert array.flags.aligned
    assert same(array, after)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"[1, 2]", b"", "does not start with '{'"),
        (b'{"a": ', b"", "is not JSON"),
        (b'{"a": "\xff"}', b"", "is not JSON"),
        (b'{"a":' * 90_000, b"", "is nested too deeply"),
        (b'{"a": [' + b"{}," * 400_000 + b"{}]}", b"", "it has more lists and objects than those of tensors"),
        (b'{"\\ud800": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}', b"1", "has a name that is not text"),
        (b'{"a": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}, "a": 1}', b"1", "the name 'a' occurs twice"),
        ({"__metadata__": {"a": 1}}, b"", "'__metadata__' is not a mapping of strings"),
        ({"a": 1}, b"", "tensor 'a' needs exactly 'dtype', 'shape' and 'data_offsets'"),
        ({"a": {"dtype": "I8", "shape": [1]}}, b"1", "tensor 'a' needs exactly"),
        ({"a": spec("I9", [1], 0, 1)}, b"1", "tensor 'a' has an unknown dtype"),
        ({"a": spec(["I8"], [1], 0, 1)}, b"1", "tensor 'a' has an unknown dtype"),
        ({"a": spec("I8", [-1], 0, 1)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [True], 0, 1)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [1.0], 0, 1)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [1] * 65, 0, 1)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [1], 1, 0)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [1], 0)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("I8", [1], 0, 10**30)}, b"1", "malformed shape or malformed offsets"),
        ({"a": spec("F32", [2], 0, 7)}, b"1234567", r"is F32 of shape \(2,\), 8 bytes, but has 7"),
        ({"a": spec("I8", [0, 1 << 62, 4], 0, 0)}, b"", "too large to be true"),
        ({"a": spec("I8", [4], 0, 4)}, b"123", "is truncated or corrupt: tensor 'a' needs the bytes .* the file has"),
        ({"a": spec("I8", [4], 0, 4), "b": spec("I8", [4], 2, 6)}, b"123456", "tensor 'b' overlaps another"),
        ({"a": spec("I8", [2], 0, 2), "b": spec("I8", [2], 3, 5)}, b"12345", "tensor 'b' follows a gap"),
        ({"a": spec("I8", [2], 0, 2)}, b"1234", "2 bytes at the end of the file belong to no tensor"),
    ],
)
def test_contradictions(tmp_path: Path, header: Any, data: bytes, message: str) -> None:
    write(tmp_path, header, data)
    with pytest.raises(CorruptFileError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert "model.safetensors" in str(caught.value)
    assert "Download" in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 10**7, 10**8 + 1, 2**63, 2**64 - 1])
def test_header_length_is_bounded(tmp_path: Path, length: int) -> None:
    write(tmp_path, b"{}", length=length)
    with pytest.raises(CorruptFileError, match=r"promise a header of|does not start with|is not JSON"):
        open_checkpoint(tmp_path)


def test_other_dtypes_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": spec("F8_E4M3", [1], 0, 1)}, b"1")
    with pytest.raises(UnsupportedFileError, match=r"tensor 'a' has the dtype F8_E4M3. Supported are F64, .* convert"):
        open_checkpoint(tmp_path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    safetensors.numpy.save_file(
        {"a": random_array((8, 8)), "b": random_array((9,), "int8")}, tmp_path / "model.safetensors"
    )
    data = (tmp_path / "model.safetensors").read_bytes()
    for size in [*range(0, len(data), len(data) // 20), len(data) - 1]:
        (tmp_path / "model.safetensors").write_bytes(data[:size])
        with pytest.raises(CorruptFileError, match=r"truncated|empty"):
            open_checkpoint(tmp_path)


def test_flipped_bytes_never_escape_the_error_tree(tmp_path: Path) -> None:
    safetensors.numpy.save_file(
        {"a": random_array((4, 4)), "b": random_array((9,), "int8")}, tmp_path / "model.safetensors"
    )
    data = (tmp_path / "model.safetensors").read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for at in generator.integers(0, len(data), 3):
            broken[at] = generator.integers(0, 256)
        (tmp_path / "model.safetensors").write_bytes(broken)
        try:
            with open_checkpoint(tmp_path) as checkpoint:
                for name in checkpoint:
                    checkpoint.read(name)
        except TFXLMError:
            refused += 1
    assert refused > 100


def test_a_file_of_tensorflow_classes(tmp_path: Path) -> None:
    tensors = {"kernel": np.zeros((2, 3), np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "tf"})
    with pytest.raises(UnsupportedFileError, match=r"written by a TensorFlow class of transformers.*load_tf2_model_in"):
        open_checkpoint(tmp_path)
