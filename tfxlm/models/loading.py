"""Weights between checkpoints and Keras variables: read straight into place, written one at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfxlm import backend
from tfxlm.checkpoints import (
    Checkpoint,
    Lazy,
    LoadReport,
    NameMap,
    Source,
    Transform,
    open_checkpoint,
    plan,
    weight_files,
    write_checkpoint,
)
from tfxlm.errors import InputError
from tfxlm.files import resolve_folder
from tfxlm.models.options import Loading

logger = logging.getLogger(__name__)


def weights_by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights by their path inside the model, such as ``transformer/embeddings/word/embeddings``."""
    root = len(model.path) + 1
    return {weight.path[root:]: weight for weight in model.weights}


def find_weights(name_or_path: str | Path, loading: Loading) -> Path:
    """Returns the local folder with the weights, downloading those of the first format that there is of them."""
    names = list(weight_files(**loading.weights))
    for whole, index in zip(names[::2], names[1::2], strict=True):
        stem, _, ending = whole.rpartition(".")
        patterns = (whole, f"{stem}-*.{ending}", index)
        folder = resolve_folder(name_or_path, patterns=patterns, **loading.hub)
        if any(any(folder.glob(pattern)) for pattern in patterns):
            break
    return folder


def load(
    make_model: Callable[[], keras.Model],
    name_map: NameMap,
    name_or_path: str | Path,
    loading: Loading,
    ignore_mismatched_sizes: bool,
) -> tuple[Any, LoadReport]:
    """Makes a model whose variables start as the tensors of a checkpoint.

    No variable is initialised before its tensor is read, and each tensor goes from the memory map to its variable, so
    that memory holds one copy of the model.

    Returns:
        The model and what was loaded from where.

    Raises:
        WeightMismatchError: before anything is read, when names or shapes do not fit.
    """
    folder = find_weights(name_or_path, loading)
    with open_checkpoint(folder, **loading.weights) as checkpoint, backend.device_scope(loading.device):
        with backend.deferred_variables() as fill:
            model = make_model()
        weights = weights_by_path(model)
        paths = {weight.path: path for path, weight in weights.items()}
        loaded = plan(name_map, checkpoint, {path: tuple(weight.shape) for path, weight in weights.items()})
        report = loaded.report.check(ignore_mismatched_sizes=ignore_mismatched_sizes)

        def initializer_of(variable: keras.Variable) -> Any:
            source = loaded.sources.get(paths.get(variable.path, ""))
            return None if source is None else _reader(checkpoint, source)

        fill(model, initializer_of)
    if report.new or report.unused:
        logger.log(logging.WARNING if report.new else logging.INFO, "%s", report)
    return model, report


def _reader(checkpoint: Checkpoint, source: Source) -> Callable[..., Any]:
    """Returns an initializer that reads its tensor from the file."""

    def read(shape: Any, dtype: Any = None) -> Any:
        array = checkpoint.read(source.tensor)
        tensor = backend.tensor_from_array(array, dtype, transpose=source.transform is Transform.TRANSPOSE)
        checkpoint.release(source.tensor)
        return tensor

    return read


def save(model: keras.Model, name_map: NameMap, folder: Path, *, bare: bool, max_shard_size: int | str) -> list[Path]:
    """Writes the weights of `model` under their names in checkpoints, converting one at a time.

    LoRA weights are added to those that they belong to.

    Returns:
        The files written.

    Raises:
        InputError: when a layer is quantized.
    """

    merged = _merged_lora(model)

    def lazy(path: str, weight: keras.Variable) -> Lazy:
        match = name_map.match_variable(path)
        transposed = match.transform is Transform.TRANSPOSE

        def get() -> np.ndarray:
            value = merged[weight.path]() if weight.path in merged else weight.value
            array = keras.ops.convert_to_numpy(keras.ops.cast(value, weight.dtype))
            return array.T if transposed else array

        name = name_map.file_name(match.tensor, bare=bare)
        return Lazy(name, match.transform.shape(tuple(weight.shape)), np.dtype(weight.dtype), get)

    weights = {path: weight for path, weight in weights_by_path(model).items() if not weight.name.startswith("lora_")}
    tensors = [lazy(path, weight) for path, weight in weights.items()]
    return write_checkpoint(folder, tensors, max_shard_size=max_shard_size)


def _merged_lora(model: keras.Model) -> dict[str, Callable[[], Any]]:
    """Returns, by path, what gives the values that a weight has together with its LoRA weights.

    Raises:
        InputError: when a layer is quantized.
    """
    merged: dict[str, Callable[[], Any]] = {}
    for layer in model._flatten_layers():
        if layer.quantization_mode is not None:
            raise InputError(
                f"{layer.path} is quantized, and checkpoints hold plain weights. Save the model before it is "
                'quantized, or with model.save("name.keras").'
            )
        if getattr(layer, "lora_enabled", False):
            name = "embeddings" if hasattr(layer, "embeddings") else "kernel"
            merged[f"{layer.path}/{name}"] = partial(getattr, layer, name)
    return merged
