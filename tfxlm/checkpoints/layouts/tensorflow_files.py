"""``tf_model.h5``: weights as the TensorFlow classes of `transformers` 4 saved them.

Keras 2 writes a dataset for each variable, neither compressed nor in chunks, so that a tensor is a run of bytes of the
file. Its path says where the variable is in the model: the layer that it was saved with, the model, and the layers
down to the variable (``roberta/tfxlm_roberta_model/roberta/encoder/layer_._0/output/dense/kernel:0``). Kernels are
(in, out), and (out, in) in PyTorch.

The files are opened with h5py, which Keras itself depends on, for names, shapes and places alone: the numbers are read
as those of every other file. HDF5 has much that such a file has not and that could lead elsewhere or take for ever
(links, other files, filters, nested groups without end), which is refused before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from tfxlm.checkpoints.arrays import TensorEntry
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.torch_files import check_tensors
from tfxlm.errors import CheckpointError, CorruptFileError, UnsafeFileError, UnsupportedFileError

# What PyTorch's layers call a variable.
_VARIABLES = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "weight": "weight", "beta": "bias"}
_TURNED = "kernel"
# In paths it stands between the name of a list and the number in it.
_LIST = "_._"
# How deep groups may be in one another, how many groups and datasets there may be, and how long paths: many times what
# the largest models have.
_DEEPEST, _MOST_OBJECTS, _LONGEST_PATH = 64, 100_000, 512
# What whole files have, whose paths begin with the layer and the model. Those in shards begin inside the model.
_WHOLE = "keras_version"


def read_h5(file: MappedFile) -> dict[str, TensorEntry]:
    """Reads the names, shapes and places of the tensors in a file.

    Args:
        file: the mapped file.

    Returns:
        The tensors by the name that PyTorch's classes have for them.

    Raises:
        CorruptFileError: the file is truncated or contradicts itself.
        UnsupportedFileError: a tensor is stored in another way than Keras 2 stored them.
        UnsafeFileError: there is a link.
    """
    tensors: dict[str, TensorEntry] = {}
    try:
        with h5py.File(file.path, "r") as content:
            above = 2 if _WHOLE in content.attrs else 0
            for path, dataset in _datasets(file, content):
                name, turned = tensor_name(path, above)
                # Tied tables stand there once with each layer that has them.
                if name not in tensors:
                    tensors[name] = _entry(file, path, dataset, turned)
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError) as error:
        raise CorruptFileError(
            f"'{file.path}' is a truncated or corrupt HDF5 file ({' '.join(str(error).split())[:200]}). Download it "
            "again."
        ) from error
    check_tensors(file, tensors)
    return tensors


def index_name(path: str) -> str:
    """Returns the name that PyTorch's classes have for a variable that an index lists, with its model."""
    return tensor_name(path, 1)[0]


def tensor_name(path: str, above: int) -> tuple[str, bool]:
    """Returns the name that PyTorch's classes have for a variable, and whether it is turned there.

    Args:
        path: of the variable in the file.
        above: how many parts of it are above the model.
    """
    *layers, variable = path.partition(":")[0].split("/")[above:] or [path]
    layers = [layer.replace(_LIST, ".") for layer in layers]
    return ".".join((*layers, _VARIABLES.get(variable, variable))), variable == _TURNED


def _datasets(file: MappedFile, content: Any) -> Iterator[tuple[str, Any]]:
    """Yields the datasets with their paths, each object once.

    Not by `visititems`, which takes minutes for some thousand groups in one another.

    Raises:
        UnsafeFileError: there is a link.
        CorruptFileError: there are more groups than any model has.
    """
    seen: set[int] = set()
    waiting = [("", content)]
    while waiting:
        above, group = waiting.pop()
        inner = []
        for name in group:
            path = f"{above}{name}"
            # Links and names with a slash are looked up by way of others, which may lead out of the file.
            if "/" in name or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsafeFileError(
                    f"'{file.path}': '{path[:200]}' is a link, which Keras never saves; it may lead to another file. "
                    "Get the weights as safetensors."
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS or path.count("/") > _DEEPEST or len(path) > _LONGEST_PATH:
                raise CorruptFileError(
                    f"'{file.path}' has groups in one another or datasets in a number, or names of a length, that no "
                    "model has. Get the file again."
                )
            if isinstance(item, h5py.Dataset):
                yield path, item
            elif isinstance(item, h5py.Group):
                inner.append((f"{path}/", item))
        waiting += reversed(inner)


def _entry(file: MappedFile, path: str, dataset: Any, turned: bool) -> TensorEntry:
    # Before anything else is asked of it: for a virtual dataset, already its shape opens the files that it is made of.
    creation, kind = dataset.id.get_create_plist(), dataset.id.get_type()
    is_plain = creation.get_layout() == h5py.h5d.CONTIGUOUS and not creation.get_external_count()
    if is_plain and isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID):
        dtype, shape = np.dtype(kind.dtype), tuple(dataset.shape)
        offset = dataset.id.get_offset() if dataset.size else 0
        if offset is not None and dtype.itemsize == kind.get_size():
            entry = TensorEntry(
                file, shape, dtype.newbyteorder("="), int(offset), None, kind.get_order() == h5py.h5t.ORDER_BE
            )
            return entry.turned() if turned and len(shape) == 2 else entry
    raise UnsupportedFileError(
        f"'{file.path}': the dataset '{path}' is compressed, in chunks, in another file, without numbers, or of "
        "another kind, which is not how Keras saves weights. Load it with the class that wrote it, and save it as "
        "safetensors."
    )
