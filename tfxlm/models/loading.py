"""Weights between checkpoints and Keras variables: read straight into place, written one at a time."""

from __future__ import annotations

import gc
import logging
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
    find_weights,
    open_checkpoint,
    plan,
    write_checkpoint,
)
from tfxlm.errors import ArgumentError, InputError
from tfxlm.layers import Dense, file_layout
from tfxlm.models.options import Loading

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Threads that read at most: with more, disks and memory are what one waits for.
MAX_READERS = 4


def weights_by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights by their path inside the model, such as ``transformer/embeddings/word/embeddings``."""
    root = len(model.path) + 1
    return {weight.path[root:]: weight for weight in model.weights}


def load(
    make_model: Callable[[], keras.Model],
    name_map: NameMap,
    name_or_path: str | Path,
    loading: Loading,
    ignore_mismatched_sizes: bool,
) -> tuple[Any, LoadReport]:
    """Makes a model whose variables start as the tensors of a checkpoint.

    No variable is initialised before its tensor is read, and each tensor goes straight from the file to its variable,
    so that memory holds one copy of the model; or none, where variables are the memory map of the file.

    Returns:
        The model and what was loaded from where.

    Raises:
        WeightMismatchError: before anything is read, when names or shapes do not fit.
        ArgumentError: when a memory map is asked for and not possible.
    """
    mapped = loading.memory_map
    if mapped and not backend.IS_TENSORFLOW:
        raise ArgumentError(
            f"memory_map=True needs Keras's TensorFlow backend, and this is {keras.backend.backend()}. Leave it out."
        )
    path = find_weights(name_or_path, **loading.weights, **loading.hub)
    options = {**loading.weights, "copy_on_write": mapped}
    with open_checkpoint(path, **options) as checkpoint, backend.device_scope(loading.device):
        with backend.deferred_variables() as fill, file_layout() if mapped else nullcontext(), _uncollected():
            model = make_model()
        weights = weights_by_path(model)
        paths = {weight.path: path for path, weight in weights.items()}
        turned = _in_file_layout(model)
        shapes = {path: _own_shape(weight, turned) for path, weight in weights.items()}
        loaded = plan(name_map, checkpoint, shapes)
        report = loaded.report.check(ignore_mismatched_sizes=ignore_mismatched_sizes)
        if mapped:
            _check_dtype(checkpoint, loaded.sources.values(), model.variable_dtype)
            for weight in model.weights:
                weight.trainable = False
        tensors: dict[str, Callable[[], Any]] = {}  # what makes a variable's value, by the variable's path
        jobs: list[Callable[[], np.ndarray]] = []
        copied: list[str] = []
        arrays = read_ahead(jobs)  # which are read from the first that is asked for on
        for variable in model.variables:
            source = loaded.sources.get(paths.get(variable.path, ""))
            if source is None:
                continue
            transposed = source.transform is Transform.TRANSPOSE and variable.path not in turned
            view = _view(checkpoint, source.tensor, variable.dtype) if mapped and not transposed else None
            if view is not None:
                tensors[variable.path] = partial(backend.tensor_over, view)
                continue
            copied.append(source.tensor)
            jobs.append(partial(_read, checkpoint, source.tensor, variable, transposed))
            # In turn: variables are filled in the order in which they are here.
            tensors[variable.path] = lambda: backend.tensor_over(next(arrays))
        # Where nothing is read, making variables is all that it takes.
        with closing(arrays), _uncollected() if mapped else nullcontext():
            fill(model, lambda variable: _initializer(tensors.get(variable.path)))
        if mapped:
            model.is_memory_mapped = True
            report = _with_copies(report, copied, checkpoint)
    if report.new or report.unused:
        logger.log(logging.WARNING if report.new else logging.INFO, "%s", report)
    return model, report


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within it Python does not look for garbage.

    Layers are ten thousands of objects, none of them garbage. In a new process their number has Python go through all
    of TensorFlow's, which takes as long as opening a large memory map.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _in_file_layout(model: keras.Model) -> set[str]:
    """Returns the paths of kernels that are as the file has them."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, Dense)]
    return {layer._kernel.path for layer in layers if layer.has_file_layout}


def _own_shape(weight: keras.Variable, turned: set[str]) -> tuple[int, ...]:
    shape = tuple(weight.shape)
    return shape[::-1] if weight.path in turned else shape


def _check_dtype(checkpoint: Checkpoint, sources: Iterable[Source], dtype: str) -> None:
    """Refuses a map of files that are, for the most part, not of the model's dtype.

    Raises:
        ArgumentError: when they are not.
    """
    sizes: Counter[str] = Counter()
    for source in sources:
        info = checkpoint.info(source.tensor)
        sizes[info.dtype.name] += math.prod(info.shape) * info.dtype.itemsize
    stored = max(sizes, key=lambda name: sizes[name], default=dtype)
    if stored != dtype:
        raise ArgumentError(
            f"memory_map=True takes weights as they are: '{checkpoint.path}' has {stored}, and the model would have "
            f'{dtype}. Load with dtype="{stored}", or write the checkpoint anew: tfxlm.convert_checkpoint(folder, '
            f'new_folder, dtype="{dtype}").'
        )


def _with_copies(report: LoadReport, copied: list[str], checkpoint: Checkpoint) -> LoadReport:
    """Adds to a report what was copied instead of mapped, and says so when it is more than a hundredth."""
    infos = [checkpoint.info(name) for name in copied]
    size = sum(math.prod(info.shape) * info.dtype.itemsize for info in infos)
    much = size > checkpoint.size / 100
    logger.log(
        logging.WARNING if much else logging.INFO,
        "Of '%s', %.1f MB are mapped and %.1f MB were copied, as their places in the file are not multiples of %d "
        "bytes or their dtype is another.%s",
        report.path,
        (checkpoint.size - size) / 1e6,
        size / 1e6,
        backend.ALIGNMENT,
        " tfxlm.convert_checkpoint(folder, new_folder) writes it so that all of it can be mapped." if much else "",
    )
    return replace(report, copied=tuple(copied), copied_bytes=size)


def read_ahead(jobs: Sequence[Callable[[], T]]) -> Generator[T, None, None]:
    """Yields the results of jobs in order, while threads do the next ones."""
    workers = min(MAX_READERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(job) for job in jobs[: 2 * workers])
        for job in (*jobs[2 * workers :], *[None] * len(waiting)):
            yield waiting.popleft().result()
            if job is not None:
                waiting.append(pool.submit(job))


def _read(checkpoint: Checkpoint, tensor: str, variable: keras.Variable, transposed: bool) -> np.ndarray:
    """Reads a tensor from the file as what `variable` takes."""
    array = _aligned_array(tuple(variable.shape), np.dtype(variable.dtype))
    checkpoint.read_into(tensor, array.T if transposed else array)
    return array


def _aligned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an array without values that `backend.tensor_over` takes."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + backend.ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % backend.ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _view(checkpoint: Checkpoint, tensor: str, dtype: str) -> np.ndarray | None:
    """Returns a tensor on its place in the memory map, where that can be computed with."""
    array = checkpoint.view(tensor, backend.ALIGNMENT)
    return None if array is None or array.dtype != np.dtype(dtype) else array


def _initializer(make: Callable[[], Any] | None) -> Callable[..., Any] | None:
    return None if make is None else lambda shape, dtype=None: make()


def save(model: keras.Model, name_map: NameMap, folder: Path, *, bare: bool, max_shard_size: int | str) -> list[Path]:
    """Writes the weights of `model` under their names in checkpoints, converting one at a time.

    LoRA weights are added to those that they belong to.

    Returns:
        The files written.

    Raises:
        InputError: when a layer is quantized.
    """

    merged, turned = _merged_lora(model), _in_file_layout(model)

    def lazy(path: str, weight: keras.Variable) -> Lazy:
        match = name_map.match_variable(path)
        transposed = match.transform is Transform.TRANSPOSE and weight.path not in turned

        def get() -> np.ndarray:
            value = merged[weight.path]() if weight.path in merged else weight.value
            array = keras.ops.convert_to_numpy(keras.ops.cast(value, weight.dtype))
            return array.T if transposed else array

        name = name_map.file_name(match.tensor, bare=bare)
        return Lazy(name, match.transform.shape(_own_shape(weight, turned)), np.dtype(weight.dtype), get)

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
