"""Files of HDF5 that are not what Keras saves: refused before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfxlm.checkpoints import open_checkpoint
from tfxlm.errors import CorruptFileError, UnsafeFileError, UnsupportedFileError

NAME = "tf_model.h5"
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
PLACE = "layer/model/dense/kernel:0"


def write(folder: Path, fill: Callable[[h5py.File], None], **options: int) -> Path:
    """Writes a file as Keras marks whole ones, with what `fill` puts into it."""
    with h5py.File(folder / NAME, "w", **options) as file:
        file.attrs["keras_version"] = "2.15.0"
        fill(file)
    return folder / NAME


def deep(file: h5py.File) -> None:
    group = file.id
    for _ in range(5000):
        group = h5py.h5g.create(group, b"a")


def cyclic(file: h5py.File) -> None:
    file[PLACE] = VALUES
    file["layer/model/again"] = file["layer"]
    file["layer/model/dense/itself"] = file["layer/model/dense"]


@pytest.mark.parametrize("userblock", [0, 512])
def test_groups_that_are_in_themselves(userblock: int, tmp_path: Path) -> None:
    path = write(tmp_path, cyclic, **({"userblock_size": userblock} if userblock else {}))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.names() == ("dense.weight",)
        np.testing.assert_array_equal(checkpoint.read("dense.weight"), VALUES.T)


def test_other_byte_order(tmp_path: Path) -> None:
    with open_checkpoint(write(tmp_path, lambda file: file.update({PLACE: VALUES.astype(">f4")}))) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("dense.weight"), VALUES.T)


@pytest.mark.parametrize(
    "link",
    [
        lambda: h5py.SoftLink("/layer/model"),
        lambda: h5py.SoftLink("/layer/link"),
        lambda: h5py.ExternalLink("elsewhere.h5", "/"),
    ],
    ids=["soft", "cyclic", "external"],
)
def test_links(link: Callable[[], object], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "elsewhere.h5", "w") as other:
        other[PLACE] = VALUES
    path = write(tmp_path, lambda file: file.update({PLACE: VALUES, "layer/link": link()}))
    with pytest.raises(UnsafeFileError, match="'layer/link' is a link, which Keras never saves"):
        open_checkpoint(path)


def test_names_with_a_slash(tmp_path: Path) -> None:
    """Which no program writes: a name in the file is overwritten."""
    path = write(tmp_path, lambda file: file.update({"from/x": VALUES, "fromXx": VALUES}))
    path.write_bytes(path.read_bytes().replace(b"fromXx", b"from/x"))
    with pytest.raises(UnsafeFileError, match="'from/x' is a link"):
        open_checkpoint(path)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "values", (2, 3))
    file.create_virtual_dataset(PLACE, layout)


@pytest.mark.parametrize(
    "fill",
    [
        lambda file: file.create_dataset(PLACE, data=np.zeros(1 << 22, np.float32), compression="gzip"),
        lambda file: file.create_dataset(PLACE, data=VALUES, chunks=(1, 3)),
        lambda file: file.create_dataset(PLACE, (2, 3), "f4", external=[("elsewhere.bin", 0, 24)]),
        virtual,
        lambda file: file.create_dataset(PLACE, (1 << 40, 3), "f4"),
        lambda file: file.create_dataset(PLACE, data=h5py.Empty("S4")),
        lambda file: file.create_dataset(PLACE, data=np.zeros(3, [("a", "f4"), ("b", "i4")])),
    ],
    ids=["compressed", "chunks", "external storage", "virtual", "no storage", "texts", "compound"],
)
def test_other_storage(fill: Callable[[h5py.File], None], tmp_path: Path) -> None:
    (tmp_path / "elsewhere.bin").write_bytes(bytes(24))
    with pytest.raises(UnsupportedFileError, match=f"the dataset '{PLACE}' is compressed, in chunks, in another file"):
        open_checkpoint(write(tmp_path, fill))


def test_a_shape_larger_than_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, lambda file: file.update({PLACE: np.zeros((77, 1009), np.float32)}))
    size = (1009).to_bytes(8, "little")
    data = path.read_bytes()
    assert size in data
    path.write_bytes(data.replace(size, (1 << 40).to_bytes(8, "little")))
    with pytest.raises(CorruptFileError):
        open_checkpoint(path)


def test_groups_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "groups in one another or datasets in a number, or names of a length, that no model has"
    long = f"layer/model/{'x' * 600}/bias:0"
    for fill in (deep, lambda file: file.update({long: VALUES})):
        with pytest.raises(CorruptFileError, match=message):
            open_checkpoint(write(tmp_path, fill))
    path = write(
        tmp_path, lambda file: file.update({f"layer/model/dense_{index}/bias:0": VALUES for index in range(3)})
    )
    open_checkpoint(path).close()
    monkeypatch.setattr("tfxlm.checkpoints.layouts.tensorflow_files._MOST_OBJECTS", 7)
    with pytest.raises(CorruptFileError, match=message):
        open_checkpoint(path)
