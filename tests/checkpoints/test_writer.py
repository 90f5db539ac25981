"""Writing safetensors: what the library and our own reader make of it, and saves that go wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from tests.checkpoints.arrays import one_of_each, random_array, same
from tfxlm.checkpoints import Lazy, open_checkpoint, write_checkpoint
from tfxlm.checkpoints.writer import parse_size
from tfxlm.errors import InputError, OutputExistsError


def lazy(arrays: dict[str, np.ndarray]) -> list[Lazy]:
    return [Lazy(name, array.shape, array.dtype, lambda array=array: array) for name, array in arrays.items()]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_is_read_by_the_library(tmp_path: Path) -> None:
    arrays = one_of_each()
    assert write_checkpoint(tmp_path / "new", lazy(arrays)) == [tmp_path / "new" / "model.safetensors"]
    path = tmp_path / "new" / "model.safetensors"
    read = safetensors.numpy.load_file(path)
    assert read.keys() == arrays.keys()
    assert all(same(read[name], array) for name, array in arrays.items())
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    with open_checkpoint(tmp_path / "new") as checkpoint:
        assert all(same(checkpoint.read(name), array) for name, array in arrays.items())
        assert np.shares_memory(checkpoint.read("layer.float64"), checkpoint.read("layer.float64"))  # aligned


def split(file: bytes) -> tuple[bytes, bytes]:
    """The header of a file and its data."""
    start = 8 + int.from_bytes(file[:8], "little")
    assert file[start - 1 : start] in b" }"
    return file[8:start].rstrip(b" "), file[start:]


def test_file_equals_the_librarys_but_for_spaces(tmp_path: Path) -> None:
    arrays = {"b": random_array((3, 2)), "a": random_array((5,), "bfloat16"), "c": random_array((2, 2), "float64")}
    (path,) = write_checkpoint(tmp_path, lazy(arrays))
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", metadata={"format": "pt"})
    assert split(path.read_bytes()) == split((tmp_path / "theirs").read_bytes())


def test_tensors_are_aligned_where_their_sizes_allow_it(tmp_path: Path) -> None:
    sizes = {"odd": 3, "a": 16, "b": 480, "short": 5, "wide": 32}
    arrays = {name: random_array((size,), "float64" if name == "wide" else "float32") for name, size in sizes.items()}
    (path,) = write_checkpoint(tmp_path, lazy(arrays))
    header, data = split(path.read_bytes())
    start = path.stat().st_size - len(data)
    first = {name: start + spec["data_offsets"][0] for name, spec in json.loads(header).items() if name in sizes}
    assert {name for name, at in first.items() if at % 64 == 0} >= {"a", "b", "wide"}
    read = safetensors.numpy.load_file(path)
    assert all(same(read[name], array) for name, array in arrays.items())


def test_tensors_in_parts(tmp_path: Path) -> None:
    array = random_array((7, 3), "bfloat16")
    parts = Lazy("a", array.shape, array.dtype, lambda: (array[start : start + 2] for start in range(0, 7, 2)))
    (path,) = write_checkpoint(tmp_path, [parts])
    assert same(safetensors.numpy.load_file(path)["a"], array)
    for wrong in ([array[:4]], [array, array[:1]], [array[:, :2]], [array.astype(np.float32)]):
        with pytest.raises(InputError, match=r"Tensor 'a' was announced as bfloat16 \(7, 3\), but is"):
            write_checkpoint(tmp_path / "wrong", [Lazy("a", array.shape, array.dtype, lambda wrong=wrong: wrong)])


def test_transposed_arrays_are_written_in_row_order(tmp_path: Path) -> None:
    array = random_array((4, 3)).T
    (path,) = write_checkpoint(tmp_path, [Lazy("a", (3, 4), array.dtype, lambda: array)], metadata={})
    assert same(safetensors.numpy.load_file(path)["a"], np.ascontiguousarray(array))


def test_shards(tmp_path: Path) -> None:
    arrays = {f"w{i}": random_array((10,), seed=i) for i in range(5)} | {"big": random_array((100,))}
    paths = write_checkpoint(tmp_path, lazy(arrays), max_shard_size=100)
    assert [path.name for path in paths] == [
        *(f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)),
        "model.safetensors.index.json",
    ]
    assert listing(tmp_path) == [path.name for path in paths]
    index = json.loads(paths[-1].read_text())
    assert index["metadata"] == {"total_size": 600}
    assert {name: int(shard[6:11]) for name, shard in index["weight_map"].items()} == {
        "w0": 1, "w1": 1, "w2": 2, "w3": 2, "w4": 3, "big": 4,
    }  # fmt: skip
    for name, shard in index["weight_map"].items():
        assert same(safetensors.numpy.load_file(tmp_path / shard)[name], arrays[name])
    with open_checkpoint(tmp_path) as checkpoint:
        assert set(checkpoint) == set(arrays)
        assert checkpoint.unlisted == ()


def test_one_tensor_at_a_time(tmp_path: Path) -> None:
    alive = 0
    most = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def make() -> np.ndarray:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return np.ndarray.__new__(Counted, (100,), np.float32)

    write_checkpoint(
        tmp_path, [Lazy(f"w{i}", (100,), np.dtype(np.float32), make) for i in range(10)], max_shard_size=900
    )
    assert most <= 2  # the next is made while the last is still in its variable
    assert len(listing(tmp_path)) == 6


def test_save_over_an_earlier_one(tmp_path: Path) -> None:
    arrays = {f"w{i}": random_array((10,), seed=i) for i in range(4)}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "other.safetensors").write_text("mine")
    (tmp_path / "pytorch_model.bin").write_text("older")
    others = ["config.json", "other.safetensors", "pytorch_model.bin"]
    for limit, count in ((40, 4), (80, 2), (1000, 1), (40, 4), (1000, 1)):
        paths = write_checkpoint(tmp_path, lazy(arrays), max_shard_size=limit)
        assert len(paths) == (count + 1 if count > 1 else 1)
        assert listing(tmp_path) == sorted(others + [path.name for path in paths])
        with open_checkpoint(tmp_path) as checkpoint:
            assert all(same(checkpoint.read(name), array) for name, array in arrays.items())


def test_save_into_the_folder_that_is_being_read(tmp_path: Path) -> None:
    arrays = {"a": random_array((1000,)), "b": random_array((1000,), seed=1)}
    write_checkpoint(tmp_path, lazy(arrays))
    with open_checkpoint(tmp_path) as checkpoint:
        again = [Lazy(name, (1000,), np.dtype(np.float32), lambda name=name: checkpoint.read(name)) for name in "ba"]
        write_checkpoint(tmp_path, again, max_shard_size=4000)
    with open_checkpoint(tmp_path) as checkpoint:
        assert len(checkpoint.files) == 2
        assert all(same(checkpoint.read(name), array) for name, array in arrays.items())


@pytest.mark.parametrize("limit", [100, 10_000])
def test_an_error_leaves_the_earlier_save(tmp_path: Path, limit: int) -> None:
    arrays = {"a": random_array((20,)), "b": random_array((20,), seed=1)}
    write_checkpoint(tmp_path, lazy(arrays), max_shard_size=100)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail() -> np.ndarray:
        raise RuntimeError("no memory")

    broken = [*lazy({"x": random_array((20,))}), Lazy("y", (20,), np.dtype(np.float32), fail)]
    with pytest.raises(RuntimeError, match="no memory"):
        write_checkpoint(tmp_path, broken, max_shard_size=limit)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_wrong_announcements(tmp_path: Path) -> None:
    array = random_array((2, 3))
    for shape, dtype in (((3, 2), np.float32), ((2, 3), np.float16)):
        with pytest.raises(InputError, match=r"Tensor 'a' was announced as .* but is float32 \(2, 3\)"):
            write_checkpoint(tmp_path, [Lazy("a", shape, np.dtype(dtype), lambda: array)])
    with pytest.raises(InputError, match="Two tensors have the name 'a'"):
        write_checkpoint(tmp_path, lazy({"a": array}) * 2)
    with pytest.raises(
        InputError, match=r"Tensor 'a' has the dtype complex64, which cannot be saved. Supported are float64"
    ):
        write_checkpoint(tmp_path, lazy({"a": array.astype(np.complex64)}))
    with pytest.raises(InputError, match="There are no tensors to save"):
        write_checkpoint(tmp_path, [])
    assert listing(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputExistsError, match=r"is a file. Give a folder to save to"):
        write_checkpoint(tmp_path / "file", lazy({"a": array}))


def test_tensors_may_come_from_a_generator(tmp_path: Path) -> None:
    def tensors() -> Iterator[Lazy]:
        yield from lazy({"a": np.ones((2,), ml_dtypes.bfloat16)})

    (path,) = write_checkpoint(tmp_path, tensors())
    assert safetensors.numpy.load_file(path)["a"].dtype == ml_dtypes.bfloat16


def test_sizes() -> None:
    sizes = {"5GB": 5 * 10**9, "1 MiB": 2**20, "1.5kb": 1500, "10B": 10, 7: 7, "2TB": 2 * 10**12}
    assert {size: parse_size(size) for size in sizes} == sizes
    for wrong in (0, -1, True, "", "5", "GB", "-1GB", "0MB", "5 XB", 1.5):
        with pytest.raises(
            InputError, match="max_shard_size should be a positive number of bytes or a size such as '5GB'"
        ):
            parse_size(wrong)  # type: ignore[arg-type]
