"""What a checkpoint is, found out without loading its weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfxlm import presets
from tfxlm.checkpoints import Checkpoint, NameMap, find_weights, open_checkpoint
from tfxlm.checkpoints.maps.families import NAME_MAPS
from tfxlm.checkpoints.remote import fetched_headers
from tfxlm.configs import AutoConfig, PreTrainedConfig
from tfxlm.configs.families import FAMILIES, family_of
from tfxlm.configs.hub_options import pop_hub_options
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, ConfigError, CorruptFileError, TFXLMError
from tfxlm.inspection.heads import Heads
from tfxlm.inspection.shapes import backbone_shapes
from tfxlm.inspection.texts import some
from tfxlm.tokenizers import AutoTokenizer

# Fields of the configuration that say how large a model is and how it works, by the names that all families have.
_SHOWN = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings"),
    *("causal", "is_decoder", "n_langs", "use_lang_emb", "num_labels"),
)
_WORDS = ("transformer.embeddings.weight", "roberta.embeddings.word_embeddings.weight")


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    Attributes:
        path: the file with weights, or the index of several.
        program: whose layout it has: ``"transformers"``, ``"XLM (FAIR)"`` or ``"fairseq"``.
        file_format: of the files with weights.
        files: how many there are.
        family: ``"xlm"``, ``"xlm-roberta"`` or ``"xlm-roberta-xl"``; None when nothing tells.
        released: the released checkpoint that it is by name and sizes, or "".
        architectures: names of the classes that it was saved from.
        config: fields of the configuration that say how large the model is and how it works.
        heads: how many tensors there are of each head, by what messages call it.
        loads_as: classes for which the file has all that they need and nothing else; those that would leave a head in
            the file unused, or start one afresh, are not among them.
        tensors: how many there are.
        parameters: numbers in them; those that are there under two names count once.
        size: bytes of the numbers.
        dtypes: bytes of the numbers by their dtype.
        vocabulary: ids of the tokenizer; None without one.
        languages: codes, in the order of ids.
        licence: of the weights, where it is known; "" otherwise.
        holds: what else is in a file of another program.
        notes: what was decided or corrected on the way.
        problems: what stands in the way of using it.
    """

    path: str
    program: str
    file_format: str
    files: int
    family: str | None
    released: str
    architectures: tuple[str, ...]
    config: Mapping[str, Any]
    heads: Mapping[str, int]
    loads_as: tuple[str, ...]
    tensors: int
    parameters: int
    size: int
    dtypes: Mapping[str, int]
    vocabulary: int | None
    languages: tuple[str, ...]
    licence: str
    holds: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON types."""
        return asdict(self)


def inspect_checkpoint(
    source: str | Path, *, variant: str | None = None, use_safetensors: bool | None = None, **hub: Any
) -> Inspection:
    """Finds out what a checkpoint is, from the headers of its files; no weights are read.

    Of safetensors on the hub, only the headers are fetched. Other files are downloaded as a whole, because what is in
    them is not at their beginning.

    Args:
        source: a folder, a file or a hub name, as `from_pretrained` takes it.
        variant, use_safetensors: which weights of `source`.
        **hub: `revision`, `token`, `subfolder`, `local_files_only`, `cache_dir`, `force_download`.

    Returns:
        What it is. Problems are in it, but for files that cannot be read at all.

    Raises:
        CheckpointNotFoundError: when `source` holds no weights.
        CorruptFileError, UnsafeFileError, UnsupportedFileError: when a file is broken, asks for more than weights, or
            is of another kind.

    Example:
        >>> from tfxlm import inspect_checkpoint
        >>> found = inspect_checkpoint("examples/checkpoint")
        >>> found.family, found.languages
        ('xlm', ('ar', 'de', 'en', 'fr', 'ru'))
    """
    wanted = pop_hub_options(hub)
    if hub:
        raise ArgumentError(f"inspect_checkpoint does not take {', '.join(hub)}.")
    weights: dict[str, Any] = {"variant": variant, "use_safetensors": use_safetensors}
    with ExitStack() as stack:
        stand_ins = stack.enter_context(fetched_headers(source, **weights, **wanted))
        found = find_weights(source, **weights, **wanted) if stand_ins is None else stand_ins
        checkpoint = stack.enter_context(open_checkpoint(found, **weights))
        origin = checkpoint.origin
        problems: list[str] = []
        config = _config(source, wanted, problems)
        released = presets.find(source, {} if config is None else config.to_dict())
        notes = [*(origin.notes if origin else ()), *_corrections(released, config)]
        heads: Heads | None = None
        if config is not None:
            name_map = NAME_MAPS[config.model_type]
            disagreements = list(_disagreements(checkpoint, config, name_map))
            shapes = {name_map.full_name(name): checkpoint.info(name).shape for name in checkpoint}
            heads = Heads(shapes, config, name_map)
            lacking = [name for name in config.architectures or () if not heads.has_head_of(name)]
            notes += [f"saved from {name}, and the file does not have all of its head" for name in lacking]
            problems += [*disagreements, *heads.problems()]
        dtypes: Counter[str] = Counter()
        parameters = 0
        for name in _apart(checkpoint, config):
            dtypes[checkpoint.info(name).dtype.name] += checkpoint.nbytes(name)
            parameters += checkpoint.nbytes(name) // checkpoint.info(name).dtype.itemsize
        vocabulary = _vocabulary(source, config, wanted, problems)
        ids = getattr(config, "id2lang", None) or {}
        return Inspection(
            path=str(checkpoint.path) if stand_ins is None else f"{source}/{checkpoint.path.name}",
            program=origin.program if origin else "transformers",
            file_format=checkpoint.file_format,
            files=len(checkpoint.files),
            family=config.model_type if config else family_of(origin.config)[0] if origin else None,
            released=released.name if released else "",
            architectures=tuple((config.architectures if config else None) or ()),
            config={name: getattr(config, name) for name in _SHOWN if hasattr(config, name)},
            heads=heads.tensors if heads else {},
            # Without a body, none of them does.
            loads_as=tuple(f"TF{name}" for name in heads.classes()) if heads and not disagreements else (),
            tensors=len(checkpoint),
            parameters=parameters,
            size=sum(dtypes.values()),
            dtypes=dict(dtypes),
            vocabulary=vocabulary,
            languages=tuple(ids[index] for index in sorted(ids)),
            licence=released.licence if released else "",
            holds=origin.holds if origin else (),
            notes=tuple(notes),
            problems=tuple(problems),
        )


def _config(source: str | Path, hub: Mapping[str, Any], problems: list[str]) -> PreTrainedConfig | None:
    try:
        return AutoConfig.from_pretrained(source, corrections=False, **hub)
    except (CheckpointNotFoundError, ConfigError, CorruptFileError) as error:
        problems.append(f"no configuration: {error}")
        return None


def _corrections(released: presets.Released | None, config: PreTrainedConfig | None) -> Iterator[str]:
    for name, value in (released.config if released else {}).items():
        if config is not None and getattr(config, name) != value:
            yield f"the files say {name}={getattr(config, name)!r}; it was trained with {value!r}, and is loaded so"
    if released is not None and released.letters:
        letters = ", ".join(f"{name}={value!r}" for name, value in released.letters.items())
        yield f"letters of its training texts: {letters}"


def _apart(checkpoint: Checkpoint, config: PreTrainedConfig | None) -> list[str]:
    """Returns the names of tensors, those left out that are others under a second name."""
    tied = NAME_MAPS[config.model_type].tied if config else {}
    full = {name: NAME_MAPS[config.model_type].full_name(name) if config else name for name in checkpoint}
    return [name for name in checkpoint if not checkpoint.is_same(name, tied.get(full[name], ""))]


def _disagreements(checkpoint: Checkpoint, config: PreTrainedConfig, name_map: NameMap) -> Iterator[str]:
    """Yields where tensors and configuration say different things."""
    unknown = [
        name
        for name in checkpoint
        if name_map.match_tensor(name) is None
        and name_map.ignored_reason(name) is None
        and name_map.full_name(name) not in name_map.tied
    ]
    if unknown:
        yield f"{len(unknown)} tensors are not of {FAMILIES[config.model_type]} models: {some(unknown)}"
    names = {name_map.full_name(name): name for name in checkpoint}
    words = next((names[name] for name in _WORDS if name in names), None)
    expected = (config.vocab_size, config.hidden_size)
    if words is None:
        yield "there is no table of words"
    elif checkpoint.info(words).shape != expected:
        yield f"the table of words is {checkpoint.info(words).shape}, and by the configuration {expected}"
    layers = {
        match.variable for name in names if (match := name_map.match_tensor(name)) and "/block_" in match.variable
    }
    count = len({variable.partition("/block_")[2].partition("/")[0] for variable in layers})
    if count != config.num_hidden_layers:
        yield f"there are {count} layers, and by the configuration {config.num_hidden_layers}"
    shapes = {
        name: shape
        for name, shape in backbone_shapes(config, name_map, min(count, config.num_hidden_layers)).items()
        if name not in _WORDS
    }
    missing = [name for name in shapes if name not in names]
    if missing:
        yield f"{len(missing)} tensors are missing: {some(missing)}"
    others = [
        f"{name} {found} instead of {shape}"
        for name, shape in shapes.items()
        if name in names and (found := checkpoint.info(names[name]).shape) != shape
    ]
    if others:
        yield f"{len(others)} tensors have other shapes than by the configuration: {some(others)}"


def _vocabulary(
    source: str | Path, config: PreTrainedConfig | None, hub: Mapping[str, Any], problems: list[str]
) -> int | None:
    try:
        size = len(AutoTokenizer.from_pretrained(os.fspath(source), corrections=False, **hub))
    except TFXLMError as error:
        problems.append(f"no tokenizer: {error}")
        return None
    if config is not None and size > config.vocab_size:
        problems.append(f"the tokenizer has {size} ids, and the model rows for {config.vocab_size}")
    return size
