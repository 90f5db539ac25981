"""``tf_model.h5``: weights as the TensorFlow classes of `transformers` 4 saved them.

Keras 2 writes a dataset for each variable, neither compressed nor in chunks, so that a tensor is a run of bytes of the
file. Its path says where the variable is in the model: the layer that it was saved with, the model, and the layers
down to the variable (``roberta/tfxlm_roberta_model/roberta/encoder/layer_._0/output/dense/kernel:0``). Kernels are
(in, out), and (out, in) in PyTorch. The files are opened with h5py, which Keras itself depends on.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from tfxlm.checkpoints.arrays import TensorEntry
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.torch_files import check_tensors
from tfxlm.errors import CheckpointError, CorruptFileError, UnsupportedFileError

# What PyTorch's layers call a variable.
_VARIABLES = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "weight": "weight", "beta": "bias"}
_TURNED = "kernel"
# In paths it stands between the name of a list and the number in it.
_LIST = "_._"
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
    """
    tensors: dict[str, TensorEntry] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            name, turned = tensor_name(path, above)
            # Tied tables stand there once with each layer that has them.
            tensors.setdefault(name, _entry(file, path, item, turned))

    try:
        with h5py.File(file.path, "r") as content:
            above = 2 if _WHOLE in content.attrs else 0
            # Links are not followed, neither inside the file nor out of it.
            content.visititems(visit)
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


def _entry(file: MappedFile, path: str, dataset: Any, turned: bool) -> TensorEntry:
    offset = dataset.id.get_offset()
    dtype = np.dtype(dataset.dtype)
    if not dataset.size:
        offset = 0
    if (
        dataset.chunks is not None
        or dataset.external
        or dataset.is_virtual
        or offset is None
        or dtype.kind not in "fiu"
    ):
        raise UnsupportedFileError(
            f"'{file.path}': the dataset '{path}' is compressed, in chunks, in another file, or no numbers, which is "
            "not how Keras saves weights. Load it with the class that wrote it, and save it as safetensors."
        )
    native = dtype.newbyteorder("=")
    shape = tuple(dataset.shape)
    entry = TensorEntry(file, shape, native, int(offset), None, dtype.byteorder == ">")
    return entry.turned() if turned and len(shape) == 2 else entry
