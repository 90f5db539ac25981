"""Finding and opening weights, whatever their file format."""

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import random_array, same
from tests.checkpoints.torch_writer import save, state_archive
from tests.example_files import CHECKPOINT
from tfxlm import AutoConfig, AutoTokenizer
from tfxlm.checkpoints import find_weights, open_checkpoint
from tfxlm.errors import (
    CheckpointNotFoundError,
    CorruptFileError,
    InputError,
    TFXLMError,
    UnsafeFileError,
    WeightMismatchError,
)

A, B, C = random_array((3, 4), seed=1), random_array((5,), seed=2), random_array((2, 2), seed=3)
SHARDS = {"model-00001-of-00002.safetensors": {"a": A}, "model-00002-of-00002.safetensors": {"b": B, "c": C}}


def write_shards(folder: Path, weight_map: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in SHARDS.items():
        safetensors.numpy.save_file(arrays, folder / name)
    if weight_map is None:
        weight_map = {name: shard for shard, arrays in SHARDS.items() for name in arrays}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_no_framework_is_imported(tmp_path: Path) -> None:
    save(tmp_path, state_archive({"a": A}))
    script = """
import sys, tfxlm.files
from tfxlm.checkpoints import open_checkpoint, plan, write_checkpoint
from tfxlm.checkpoints.maps import xlm
open_checkpoint(sys.argv[1]).read("a")
print(sorted({"torch", "tensorflow", "keras", "jax"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_order_of_the_files(tmp_path: Path) -> None:
    writers: list[Callable[[], Any]] = [
        lambda: save(tmp_path, state_archive({"from": random_array((4,))}), "part.bin"),
        lambda: (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"from": "part.bin"}}'),
        lambda: save(tmp_path, state_archive({"from": random_array((3,))})),
        lambda: safetensors.numpy.save_file({"from": random_array((2,))}, tmp_path / "part.safetensors"),
        lambda: (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"from": "part.safetensors"}}'),
        lambda: safetensors.numpy.save_file({"from": random_array((1,))}, tmp_path / "model.safetensors"),
    ]
    found = []
    for writer in writers:
        writer()
        try:
            with open_checkpoint(tmp_path) as checkpoint:
                found.append(checkpoint.info("from").shape[0])
        except CheckpointNotFoundError:
            found.append(0)
    assert found == [0, 4, 3, 3, 2, 1]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointNotFoundError, match=r"holds no weights: expected one of model.safetensors, .* nothing"
    ):
        open_checkpoint(tmp_path)
    (tmp_path / "flax_model.msgpack").touch()
    (tmp_path / "config.json").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"found config.json, flax_model.msgpack"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="There is no folder"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointNotFoundError, match=r"Expected a file with weights, but .* is a folder"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\): download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git-LFS pointer.*run `git lfs pull`"),
        (b"\n<!DOCTYPE html>\n<html></html>", "HTML page.*download the file again"),
        (b"<html><body>404</body></html>", "HTML page.*download the file again"),
        (b'{"error": "Entry not found"}', "truncated or not a safetensors file|is not a file of torch.save"),
        (bytes(100), "truncated or not|does not start with|is not a file of torch.save"),
    ],
)
def test_something_else_instead_of_weights(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert name in str(caught.value)


def test_reading_does_not_copy(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": A, "b": B}, tmp_path / "model.safetensors")
    save(tmp_path / "bin", state_archive({"a": A, "b": B}))
    for folder in (tmp_path, tmp_path / "bin"):
        with open_checkpoint(folder) as checkpoint:
            first, second = checkpoint.read("a"), checkpoint.read("a")
            assert np.shares_memory(first, second)
            assert not first.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                first[0] = 0


def test_arrays_outlive_the_checkpoint(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": A}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        array = checkpoint.read("a")
    assert same(array, A)
    with pytest.raises(InputError, match=r"is closed. Read its tensors before closing"):
        checkpoint.read("a")
    with pytest.raises(InputError, match="is closed"):
        checkpoint.release("a")
    checkpoint.close()


def test_unknown_tensor(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": A}, tmp_path / "model.safetensors")
    with (
        open_checkpoint(tmp_path) as checkpoint,
        pytest.raises(WeightMismatchError, match="has no tensor 'z'; it has 1, see `names"),
    ):
        checkpoint.read("z")


def resident(address: int) -> int:
    """KiB in memory of the mapping that holds an address, as the kernel sees it."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        field = line.split()[0]
        if "-" in field and not field.endswith(":"):
            start, stop = (int(part, 16) for part in field.split("-"))
            here = start <= address < stop
        elif here and field == "Rss:":
            return int(line.split()[1])
    raise LookupError(address)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc to measure memory")
@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot give pages back")
def test_release_gives_memory_back(tmp_path: Path) -> None:
    arrays = {name: random_array((1 << 19,), seed=seed) for seed, name in enumerate("abcd")}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        peak = 0
        for name, array in arrays.items():
            read = checkpoint.read(name)
            assert same(read, array)
            peak = max(peak, resident(read.ctypes.data))
            checkpoint.release(name)
        assert resident(read.ctypes.data) < 1024  # of 8 MiB that were read
        assert peak < 4 * 1024
        assert same(read, array)  # reloaded


def test_shards(tmp_path: Path) -> None:
    with open_checkpoint(write_shards(tmp_path)) as checkpoint:
        assert {name: checkpoint.read(name).shape for name in checkpoint} == {"a": (3, 4), "b": (5,), "c": (2, 2)}
        assert same(checkpoint.read("c"), C)
        assert checkpoint.size == A.nbytes + B.nbytes + C.nbytes
        assert [path.name for path in checkpoint.files] == sorted(SHARDS)
        assert checkpoint.unlisted == ()


def test_tensors_that_the_index_lacks_are_told(tmp_path: Path) -> None:
    one, two = SHARDS
    with open_checkpoint(write_shards(tmp_path, {"a": one, "c": two})) as checkpoint:
        assert checkpoint.names() == ("a", "c")
        assert checkpoint.unlisted == ("b",)


def test_tensors_that_a_shard_lacks(tmp_path: Path) -> None:
    one, two = SHARDS
    folder = write_shards(tmp_path, {"a": one, "b": one, "c": two})
    with pytest.raises(
        CorruptFileError, match=r"lists 1 tensors that are not in their files, e.g. 'b' in 'model-00001"
    ):
        open_checkpoint(folder)


def test_missing_shard(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointNotFoundError, match="lists 2 files, but 1 are missing: model-00002-of-00002"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "index",
    ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": ["x"]}}'],
)
def test_malformed_index(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CorruptFileError, match="should map tensor names to file names under 'weight_map'"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b", "C:x", "a\0b"])
def test_index_names_only_files_of_its_folder(tmp_path: Path, name: str) -> None:
    safetensors.numpy.save_file({"a": A}, tmp_path / "secret")
    folder = write_shards(tmp_path / "model", {"a": name})
    with pytest.raises(UnsafeFileError, match="Expected a plain file name in the folder of the index"):
        open_checkpoint(folder)


def test_index_does_not_follow_links_out_of_the_folder(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": A}, tmp_path / "secret")
    folder = write_shards(tmp_path / "model", {"a": "link"})
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(
        UnsafeFileError, match=r"'link', which is a link that leads out of the folder. Put the file itself"
    ):
        open_checkpoint(folder)
    # A folder that only looks like a snapshot of the hub cache: the link still leads out of the repository.
    snapshot = write_shards(tmp_path / "cache" / "models--x" / "snapshots" / "1", {"a": "link"})
    (tmp_path / "cache" / "models--x" / "blobs").mkdir()
    (snapshot / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        open_checkpoint(snapshot)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt", "model.safetensors.index.json"])
def test_weights_that_are_links_out_of_the_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "elsewhere" / name
    path.parent.mkdir()
    path.write_bytes(b"secret")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).symlink_to(path)
    with pytest.raises(UnsafeFileError, match=f"{name}' is a link that leads out of its folder"):
        open_checkpoint(tmp_path / "model")
    # A file that is named may be anywhere, and what is no file is not opened.
    with pytest.raises(CorruptFileError):
        open_checkpoint(tmp_path / "model" / name)
    os.mkfifo(tmp_path / "elsewhere" / "tf_model.h5")
    path.unlink()
    with pytest.raises(CheckpointNotFoundError, match="holds no weights"):
        open_checkpoint(tmp_path / "elsewhere")


def test_settings_that_are_links_out_of_the_folder(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "model")
    for name in ("tokenizer_config.json", "vocab.json", "config.json"):
        shutil.move(tmp_path / "model" / name, tmp_path / name)
        (tmp_path / "model" / name).symlink_to(tmp_path / name)
        with pytest.raises(UnsafeFileError, match=f"{name}' is a link that leads out of its folder"):
            (AutoConfig if name == "config.json" else AutoTokenizer).from_pretrained(tmp_path / "model")
        (tmp_path / "model" / name).unlink()
        shutil.move(tmp_path / name, tmp_path / "model" / name)


def test_names_that_are_too_long(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="There is no folder or file"):
        open_checkpoint(tmp_path / ("a" * 300))
    with pytest.raises(CheckpointNotFoundError, match=r"There is no folder '.*it is not a hub name"):
        find_weights(tmp_path / ("a" * 300))


@pytest.mark.parametrize("subfolder", ["", "small"])
def test_snapshot_of_the_hub_cache(tmp_path: Path, subfolder: str) -> None:
    repository = tmp_path / "models--org--name"
    folder = write_shards(repository / "snapshots" / "0123" / subfolder)
    (repository / "blobs").mkdir()
    for path in list(folder.iterdir()):
        blob = repository / "blobs" / path.name.replace("model", "blob")
        path.rename(blob)
        path.symlink_to(Path("../" * (3 if subfolder else 2)) / "blobs" / blob.name)
    with open_checkpoint(folder) as checkpoint:
        assert same(checkpoint.read("b"), B)


def test_nothing_stays_open_after_an_error(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(TFXLMError):
        open_checkpoint(folder)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(folder) not in maps.read_text()
