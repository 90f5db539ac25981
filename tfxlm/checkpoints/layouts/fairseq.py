"""Checkpoints of fairseq: ``model.pt`` of XLM-RoBERTa and XLM-RoBERTa-XL, beside ``dict.txt`` and the pieces.

Such a file is a dict with the state dict under ``model``, and the settings under ``args`` (a namespace) or, since
version 0.10.1, under ``cfg`` (``cfg["model"]`` has those of the model). Training adds optimizers and iterators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.arrays import TensorEntry, ZerosEntry
from tfxlm.checkpoints.layouts.settings import chosen, count, other_keys, rows_and_columns, settings_of, tensors_of
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.maps import fairseq as names
from tfxlm.checkpoints.name_map import Table
from tfxlm.checkpoints.origin import Found, Origin
from tfxlm.errors import CorruptFileError, UnsupportedFileError

PROGRAM = "fairseq"
_KNOWN = ("model", "args", "cfg")
_WORDS = "embed_tokens.weight"
_INDEX = "{i}"

# Settings that the configuration takes over, by its name for them.
_FIELDS = {
    "num_attention_heads": "encoder_attention_heads",
    "hidden_act": "activation_fn",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "pooler_dropout",
}
# Exact GELU has two names there, and the other one is the approximation by tanh.
_ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu", "relu": "relu", "gelu_fast": "gelu_new"}


def read(file: MappedFile, content: Mapping[Any, Any]) -> Found | None:
    """Reads a checkpoint of fairseq.

    Args:
        file: the file.
        content: what it holds.

    Returns:
        Its tensors, and what it says of them; None when the file is not one of that program.

    Raises:
        UnsupportedFileError: it holds a model of another kind.
        CorruptFileError: its tensors contradict each other.
    """
    if "model" not in content or not {"args", "cfg"} & set(content):
        return None
    path = file.path
    settings = _settings(content)
    named = [settings[name] for name in ("arch", "_name") if type(settings.get(name)) is str]
    kind = named[0][:60] if named else "an unnamed architecture"
    state = _without_prefix(path, tensors_of(file, content, "model"), kind)
    state = _split(path, state)
    is_pre_norm = f"{names.BODY}layer_norm.weight" in state
    if is_pre_norm == (f"{names.BODY}layernorm_embedding.weight" in state):
        raise UnsupportedFileError(
            f"'{path}' holds {kind} of fairseq, which is neither XLM-RoBERTa, with a normalisation after the "
            "embeddings, nor XLM-RoBERTa-XL, with one after the last layer: it has "
            f"{'both' if is_pre_norm else 'none'} of them."
        )
    notes: list[str] = []
    heads, head_tensors = _classifier(path, state, notes)
    table = Table((names.XLM_ROBERTA_XL if is_pre_norm else names.XLM_ROBERTA).items())
    tensors, unknown = {}, []
    for name, entry in state.items():
        if name in names.NO_WEIGHTS or name.startswith(names.CLASSIFICATION_HEADS):
            continue
        found = table.find(name)
        if found is None:
            unknown.append(name)
        else:
            target, index = found
            tensors[target.replace(_INDEX, index)] = entry
    if unknown:
        raise UnsupportedFileError(
            f"'{path}' holds {kind} of fairseq with {len(unknown)} tensors that XLM-RoBERTa does not have: "
            f"{', '.join(sorted(unknown)[:5])}{', ...' if len(unknown) > 5 else ''}."
        )
    rows, dim = rows_and_columns(path, state, names.BODY + _WORDS)
    positions, _ = rows_and_columns(path, state, f"{names.BODY}embed_positions.weight")
    wide, _ = rows_and_columns(path, state, f"{names.LAYER.replace(_INDEX, '0')}fc1.weight")
    words = state[names.BODY + _WORDS]
    tensors[names.TOKEN_TYPES] = ZerosEntry(words.file, (1, dim), words.dtype, 0)
    stem = "XLMRobertaXL" if is_pre_norm else "XLMRoberta"
    config: dict[str, Any] = {
        "model_type": "xlm-roberta-xl" if is_pre_norm else "xlm-roberta",
        "architectures": [stem + _task(bool(heads), "lm_head.dense.weight" in state)],
        "vocab_size": rows,
        "hidden_size": dim,
        "num_hidden_layers": count(state, f"{names.BODY}layers.", ".fc1.weight"),
        "intermediate_size": wide,
        "max_position_embeddings": positions,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": words.dtype.name,
        **chosen(path, settings, _FIELDS),
        **heads,
    }
    config["hidden_act"] = _ACTIVATIONS.get(config.get("hidden_act", "gelu"), config.get("hidden_act"))
    if "num_attention_heads" not in config:
        raise UnsupportedFileError(
            f"'{path}' does not say how many attention heads its model has (encoder_attention_heads under 'args', or "
            "under 'model' in 'cfg'), and no tensor shows it. Save the settings with the weights, as fairseq does."
        )
    return tensors | head_tensors, Origin(PROGRAM, config, None, other_keys(content, *_KNOWN), tuple(notes))


def _task(has_classifier: bool, has_head: bool) -> str:
    return "ForSequenceClassification" if has_classifier else "ForMaskedLM" if has_head else "Model"


def _settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the settings of the model."""
    whole = settings_of(content.get("cfg"))
    return settings_of(content.get("args")) | settings_of(whole.get("model"))


def _without_prefix(path: Path, state: Mapping[str, TensorEntry], kind: str) -> dict[str, TensorEntry]:
    """Returns the tensors by their name inside the model, in today's spelling.

    Raises:
        UnsupportedFileError: it is no model that reads one text.
    """
    prefix = next((one for one in names.MODEL_PREFIXES if f"{one}{names.BODY}{_WORDS}" in state), None)
    if prefix is None:
        some = ", ".join(list(state)[:3])
        raise UnsupportedFileError(
            f"'{path}' holds {kind} of fairseq, which is not XLM-RoBERTa: it has no '{names.MODEL_PREFIXES[0]}"
            f"{names.BODY}{_WORDS}', but {len(state)} tensors such as {some}."
        )
    renamed = {}
    for name, entry in state.items():
        inner = name.removeprefix(prefix)
        for old, new in names.RENAMED.items():
            inner = new + inner.removeprefix(old) if inner.startswith(old) else inner
        renamed[inner] = entry
    return renamed


def _split(path: Path, state: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Returns the tensors with the three projections of attention apart, as rows of the matrix that they were in.

    Raises:
        CorruptFileError: one is no three matrices.
    """
    fused = Table(names.FUSED.items())
    split: dict[str, TensorEntry] = {}
    for name, entry in state.items():
        found = fused.find(name)
        if found is None:
            split[name] = entry
            continue
        if not entry.shape or entry.shape[0] % len(names.PROJECTIONS) or entry.strides is not None:
            raise CorruptFileError(
                f"'{path}': '{name}' of shape {entry.shape} should be {len(names.PROJECTIONS)} projections, one after "
                "another. Get the file again."
            )
        shape = (entry.shape[0] // len(names.PROJECTIONS), *entry.shape[1:])
        kind, index = found
        for number, projection in enumerate(names.PROJECTIONS):
            part = replace(entry, shape=shape)
            part = replace(part, offset=entry.offset + number * part.nbytes)
            split[f"{names.LAYER.replace(_INDEX, index)}self_attn.{projection}.{kind}"] = part
    return split


def _classifier(
    path: Path, state: Mapping[str, TensorEntry], notes: list[str]
) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    """Returns what the head of a fine-tuned model adds to the configuration, and its tensors.

    Raises:
        UnsupportedFileError: it is no classifier.
    """
    heads: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in state.items():
        if name.startswith(names.CLASSIFICATION_HEADS):
            head, _, inner = name.removeprefix(names.CLASSIFICATION_HEADS).partition(".")
            heads.setdefault(head, {})[inner] = entry
    if not heads:
        return {}, {}
    chosen = next(iter(heads))
    if len(heads) > 1:
        notes.append(f"of the classification heads {', '.join(heads)} the first is taken")
    if heads[chosen].keys() != names.CLASSIFIER.keys():
        raise UnsupportedFileError(
            f"'{path}' has a classification head '{chosen}' with {', '.join(sorted(heads[chosen]))} instead of "
            f"{', '.join(names.CLASSIFIER)}. Remove it from the file, or save it as fairseq does."
        )
    labels, _ = rows_and_columns(path, heads[chosen], "out_proj.weight")
    return (
        {"id2label": {index: f"LABEL_{index}" for index in range(labels)}},
        {target: heads[chosen][inner] for inner, target in names.CLASSIFIER.items()},
    )
