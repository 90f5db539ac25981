"""Checkpoints written anew: in the layout of `transformers`, whatever they were, or as a Keras file."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfxlm import presets
from tfxlm.checkpoints import (
    FLOATS,
    Checkpoint,
    Lazy,
    Origin,
    find_weights,
    is_file,
    open_checkpoint,
    parse_size,
    write_checkpoint,
)
from tfxlm.checkpoints.maps.families import NAME_MAPS
from tfxlm.configs import CONFIG_FILE, AutoConfig
from tfxlm.configs.corrections import correct_config
from tfxlm.configs.families import family_of
from tfxlm.configs.hub_options import pop_hub_options
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, InputError
from tfxlm.files import atomic_folder, inside, read_json, resolve_folder, work_folder, write_json
from tfxlm.tokenizers import AutoTokenizer

logger = logging.getLogger("tfxlm")

Progress = Callable[[int, int], None]

_PART_BYTES = 1 << 24
_SHARD_SIZE = "5GB"
#: What goes with weights, and is copied with them: nothing else, because people publish the new folder.
COMPANIONS = (
    *(CONFIG_FILE, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "sentencepiece.bpe.model"),
    *("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"),
)
_KERAS = ".keras"


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str | None = None,
    max_shard_size: str | int = _SHARD_SIZE,
    preprocessing: str | None = None,
    corrections: bool = True,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    progress: Progress | None = None,
    **hub: Any,
) -> list[Path]:
    """Writes a checkpoint anew: as a folder that `transformers` and this package read, or as a Keras file.

    The folder has the weights as safetensors, in which every tensor starts at a multiple of 64 bytes whose size is
    one, so that a model can be a memory map of it (``from_pretrained(target, memory_map=True)``); the configuration;
    and the tokenizer. Of other files, README, LICENSE and NOTICE are copied. Weights are not changed but for `dtype`,
    and some megabytes of them are in memory at a time. The folder appears when it is whole. What an interrupted
    conversion left is removed by the next one.

    Args:
        source: a folder, a file or a hub name, as `from_pretrained` takes it: safetensors or files of torch.save,
            whole or sharded; ``.pth`` of the original XLM; ``model.pt`` of fairseq; ``tf_model.h5``.
        target: the folder to make; or a file that ends in ``.keras``, which `keras.saving.load_model` reads.
        dtype: "float32", "bfloat16", "float16" or "float64" for another dtype of the weights; theirs by default.
        max_shard_size: largest size of the tensors in one file of a folder, in bytes or as ``"5GB"``.
        preprocessing: of the tokenizer of an original XLM checkpoint: ``"hf"`` (the default) or ``"fair"``. Others have
            their own.
        corrections: whether what the files of a released checkpoint get wrong (`tfxlm.presets`) is put right; the new
            folder has another name, by which it would not be known.
        variant, use_safetensors: which weights of `source`, as `from_pretrained` takes them.
        progress: called with the bytes that were read for a folder, and those that will be.
        **hub: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir`, `force_download`.

    Returns:
        The files that were written.

    Raises:
        InputError: when `dtype` is none of these, or too narrow for the weights; or `max_shard_size` is no size.
        ArgumentError: when an option cannot be followed, as `preprocessing` where there is a tokenizer.
        CheckpointNotFoundError: when `source` holds no weights.
        CorruptFileError, UnsafeFileError, UnsupportedFileError: when a file is broken, asks for more than weights, is a
            link out of its folder, or is of another kind.
        ConfigError, TokenizerError: when the settings of another program make no valid configuration or tokenizer.
        OutputExistsError: when `target` exists, or another process is writing it.

    Example:
        >>> from tfxlm import convert_checkpoint
        >>> written = convert_checkpoint("examples/checkpoint", "converted", dtype="bfloat16")
        >>> [path.name for path in written if path.suffix == ".safetensors"]
        ['model.safetensors']
    """
    if dtype is not None and dtype not in FLOATS:
        raise InputError(f"dtype must be one of {', '.join(FLOATS)}, or None for that of the weights; got {dtype!r}.")
    target, wanted = Path(target), pop_hub_options(hub)
    if hub:
        raise ArgumentError(
            f"convert_checkpoint does not take {', '.join(hub)}. For what a model is to be, convert first and load the "
            "result with such options."
        )
    hub = wanted
    weights: dict[str, Any] = {"variant": variant, "use_safetensors": use_safetensors}
    if target.suffix == _KERAS:
        _refuse_options(target, max_shard_size=max_shard_size, preprocessing=preprocessing, progress=progress)
        return [_write_keras(source, target, dtype, weights | hub | {"corrections": corrections})]
    path = find_weights(source, **weights, **hub)
    with open_checkpoint(path, **weights) as checkpoint, atomic_folder(target) as folder:
        tensors = _lazy_tensors(checkpoint, _tied_names(checkpoint, path), dtype, progress)
        parse_size(max_shard_size)
        # Before the weights, which take minutes: here it shows whether the settings make sense.
        if checkpoint.origin is None:
            if preprocessing is not None:
                raise ArgumentError(
                    f"preprocessing={preprocessing!r} is for checkpoints of the original XLM, and '{source}' has the "
                    "tokenizer files of transformers. Leave the option out, and pass it where the tokenizer is loaded."
                )
            _copy_companions(source, path, folder, dtype, corrections, hub)
        else:
            given = {} if preprocessing is None else {"preprocessing": preprocessing}
            options = {"corrections": corrections, **hub}
            _make_companions(source, checkpoint.origin, folder, dtype, given, options)
        write_checkpoint(folder, tensors, max_shard_size=max_shard_size)
    return sorted(target.iterdir())


def _refuse_options(target: Path, **options: Any) -> None:
    """Refuses what means nothing for a Keras file.

    Raises:
        ArgumentError: one of the options was given.
    """
    given = [name for name, value in options.items() if value not in (None, _SHARD_SIZE)]
    if given:
        raise ArgumentError(
            f"{', '.join(given)} cannot be followed for the Keras file '{target}', which is one file without a "
            "tokenizer. Leave it out, or give a folder as the target."
        )


def _tied_names(checkpoint: Checkpoint, path: Path) -> dict[str, str]:
    """Returns the tensors that repeat others in models of the checkpoint's family, by its configuration."""
    config = checkpoint.origin.config if checkpoint.origin else _stored_config(path)
    name_map = NAME_MAPS.get(str(family_of(config)[0]))
    return {} if name_map is None else name_map.tied


def _stored_config(path: Path) -> Mapping[str, Any]:
    file = inside(path.parent if is_file(path) else path, CONFIG_FILE)
    return read_json(file) if file.is_file() else {}


def _lazy_tensors(
    checkpoint: Checkpoint, tied: Mapping[str, str], dtype: str | None, progress: Progress | None
) -> list[Lazy]:
    """Returns what is to be written: all tensors, but for those that are others under a second name."""
    names = [name for name in checkpoint if not checkpoint.is_same(name, tied.get(name, ""))]
    count, done = sum(checkpoint.nbytes(name) for name in names), 0

    def read(name: str, new: np.dtype) -> Iterator[np.ndarray]:
        nonlocal done
        for part in checkpoint.parts(name, _PART_BYTES):
            yield _cast(name, part, new)
            done += part.nbytes
            if progress is not None:
                progress(done, count)

    tensors = []
    for name in names:
        info = checkpoint.info(name)
        new = info.dtype if dtype is None or info.dtype.kind in "iub" else FLOATS[dtype]
        # A number has no parts.
        get = partial(read, name, new) if info.shape else partial(_only, read, name, new)
        tensors.append(Lazy(name, info.shape, new, get))
    return tensors


def _only(read: Callable[[str, np.dtype], Iterator[np.ndarray]], name: str, new: np.dtype) -> np.ndarray:
    (array,) = read(name, new)
    return array


def _cast(name: str, part: np.ndarray, new: np.dtype) -> np.ndarray:
    """Returns values in another dtype.

    Raises:
        InputError: when they are too large for it.
    """
    if part.dtype == new:
        return part
    with np.errstate(over="ignore"):
        cast = part.astype(new)
    finite = np.isfinite(part)
    if not np.isfinite(cast)[finite].all():
        raise InputError(
            f"Tensor '{name}' has values up to {np.abs(part[finite].astype(np.float64)).max():.3g}, too large for "
            f"{new}. Use a dtype of a wider range: bfloat16 has that of float32."
        )
    return cast


def _copy_companions(
    source: str | Path, path: Path, folder: Path, dtype: str | None, corrections: bool, hub: Mapping[str, Any]
) -> None:
    """Copies the files beside the weights, and says in the configuration what dtype the weights have now."""
    found = path.parent if is_file(path) else resolve_folder(source, patterns=COMPANIONS, **hub)
    for name in COMPANIONS:
        if os.path.isfile(found / name):
            shutil.copyfile(inside(found, name), folder / name)
    if not (folder / CONFIG_FILE).exists():
        return
    stored = read_json(folder / CONFIG_FILE)
    config = correct_config(source, stored) if corrections else stored
    if dtype is not None:
        names = [name for name in ("dtype", "torch_dtype") if name in config] or ["torch_dtype"]
        config = {**config, **dict.fromkeys(names, dtype)}
    if config != stored:
        write_json(folder / CONFIG_FILE, config)
    released = presets.find(source, stored)
    if corrections and released is not None and released.letters:
        AutoTokenizer.from_pretrained(source, **hub).save_pretrained(folder)


def _make_companions(
    source: str | Path,
    origin: Origin,
    folder: Path,
    dtype: str | None,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Writes the configuration and the tokenizer of a checkpoint of another program."""
    config = AutoConfig.from_pretrained(source, **options)
    (config if dtype is None else config.replace(dtype=dtype)).save_pretrained(folder)
    for note in origin.notes:
        logger.warning("'%s': %s.", source, note)
    try:
        AutoTokenizer.from_pretrained(source, **given, **options).save_pretrained(folder)
    except CheckpointNotFoundError as error:
        logger.warning("No tokenizer was written. %s", error)


def _write_keras(source: str | Path, target: Path, dtype: str | None, options: Mapping[str, Any]) -> Path:
    """Writes the model that a checkpoint names, as a Keras file."""
    # The rest of this file needs no TensorFlow, which takes seconds to import.
    from tfxlm import models

    hub = {name: value for name, value in options.items() if name not in ("variant", "use_safetensors")}
    config = AutoConfig.from_pretrained(source, **hub)
    names = [f"TF{name.removeprefix('TF')}" for name in config.architectures or ()]
    model_class = next((getattr(models, name) for name in names if hasattr(models, name)), models.TFAutoModel)
    # Before the weights are read, so that a target that exists is refused at once; Keras looks at the ending of a name.
    with work_folder(target) as folder:
        model = model_class.from_pretrained(source, config=config, dtype=dtype or config.dtype, **options)
        model.save(folder / target.name)
    return target
