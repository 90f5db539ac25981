"""Writing a checkpoint anew, as it is best read: aligned, in safetensors, in another dtype."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from tfxlm.checkpoints.checkpoint import Checkpoint, open_checkpoint
from tfxlm.checkpoints.safetensors import DTYPES
from tfxlm.checkpoints.writer import Lazy, write_checkpoint
from tfxlm.errors import InputError
from tfxlm.files import read_json, write_json

CONFIG = "config.json"
_FLOATS = {dtype.name: dtype for dtype in DTYPES.values() if dtype.kind not in "iub"}
# How files with weights end, and those that list them.
_WEIGHTS = (".safetensors", ".bin", ".h5", ".msgpack", ".ot", ".pt", ".pth", ".ckpt", ".onnx", ".index.json")
_PART_BYTES = 1 << 24


def rewrite_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str | None = None,
    max_shard_size: str | int = "5GB",
    variant: str | None = None,
    use_safetensors: bool | None = None,
) -> list[Path]:
    """Writes a checkpoint anew, so that a model can be its memory map: ``from_pretrained(target, memory_map=True)``.

    The weights become safetensors, in which every tensor starts at a multiple of 64 bytes whose size is one. Names and
    shapes stay, and PyTorch and `transformers` read it as before. However large the checkpoint is, only some megabytes
    of it are in memory at a time.

    Args:
        source: folder with the checkpoint, such as `huggingface_hub.snapshot_download` returns; safetensors or files of
            torch.save.
        target: folder to write to, made if missing. Configuration and tokenizer files are copied into it.
        dtype: "float32", "bfloat16", "float16" or "float64" for another dtype of the weights; theirs by default.
        max_shard_size: largest size of the tensors in one file, in bytes or as ``"5GB"``.
        variant, use_safetensors: which weights of `source`, as `from_pretrained` takes them.

    Returns:
        The files with weights, the index last.

    Raises:
        InputError: when `dtype` is none of these, or `max_shard_size` is no size.
        CheckpointNotFoundError: when `source` holds no weights.
        CorruptFileError, UnsafeFileError, UnsupportedFileError: when a file is broken, or asks for more than weights.
        OutputExistsError: when `target` is a file.

    Example:
        >>> import tfxlm  # doctest: +SKIP
        >>> tfxlm.rewrite_checkpoint("xlm-roberta-xl", "xlm-roberta-xl-bfloat16", dtype="bfloat16")
    """
    if dtype is not None and dtype not in _FLOATS:
        raise InputError(f"dtype must be one of {', '.join(_FLOATS)}, or None for that of the weights; got {dtype!r}.")
    source, target = Path(source), Path(target)
    with open_checkpoint(source, variant=variant, use_safetensors=use_safetensors) as checkpoint:
        tensors = [_lazy(checkpoint, name, dtype) for name in checkpoint]
        written = write_checkpoint(target, tensors, max_shard_size=max_shard_size)
    for path in _beside_weights(source):
        copy = target / path.name
        if path.name == CONFIG and dtype is not None:
            config = read_json(path)
            names = [name for name in ("dtype", "torch_dtype") if name in config] or ["torch_dtype"]
            write_json(copy, {**config, **dict.fromkeys(names, dtype)})
        elif not copy.exists() or not copy.samefile(path):
            shutil.copyfile(path, copy)
    return written


def _lazy(checkpoint: Checkpoint, name: str, dtype: str | None) -> Lazy:
    info = checkpoint.info(name)
    is_kept = dtype is None or info.dtype.kind in "iub"
    new = info.dtype if is_kept else _FLOATS[str(dtype)]

    def parts() -> Iterator[np.ndarray]:
        return (part.astype(new, copy=False) for part in checkpoint.parts(name, _PART_BYTES))

    # A number has no parts.
    return Lazy(name, info.shape, new, parts if info.shape else partial(next, parts()))


def _beside_weights(folder: Path) -> Iterable[Path]:
    """Returns the files that are not weights."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.endswith(_WEIGHTS)]
