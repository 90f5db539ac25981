"""Checkpoints of the original XLM code: released files such as ``mlm_en_2048.pth``, and those that users trained.

Such a file is a dict with the state dict of the model under ``model``, the settings of its training under ``params``,
and its dictionary under ``dico_id2word``, ``dico_word2id`` and ``dico_counts``. Training adds epochs, optimizers and
best scores, and puts ``module.`` in front of names when it ran on several devices. Names are those of `transformers`
without ``transformer.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm.checkpoints.arrays import TensorEntry
from tfxlm.checkpoints.layouts.settings import chosen, count, other_keys, rows_and_columns, settings_of, tensors_of
from tfxlm.checkpoints.mapped_files import MappedFile
from tfxlm.checkpoints.origin import Found, Origin
from tfxlm.checkpoints.pickle_values import shown
from tfxlm.errors import CorruptFileError, UnsupportedFileError

PROGRAM = "XLM (FAIR)"
_PREFIX = "transformer."
_HEAD = "pred_layer."
_KNOWN = ("model", "params", "dico_id2word", "dico_word2id", "dico_counts")
# Parts of models for translation, and what they are.
_TRANSLATION = {"encoder": "an encoder", "decoder": "a decoder"}
# What names begin with that belong to parts no class has, and what these are.
_FOREIGN_PARTS = {
    **dict.fromkeys(("encoder_attn.", "layer_norm15."), "a decoder that attends to an encoder"),
    "memories.": "layers with a product-key memory",
}

# Settings that the configuration takes over, by its name for them.
_FIELDS = {
    **{
        name: name
        for name in (
            *("n_heads", "dropout", "attention_dropout", "gelu_activation", "sinusoidal_embeddings", "asm", "n_langs"),
            *("bos_index", "eos_index", "pad_index", "unk_index", "mask_index", "lang2id", "id2lang"),
        )
    },
    "tie_word_embeddings": "share_inout_emb",
}
# Settings of an adaptive softmax, which have values without it, too.
_ADAPTIVE = {name: name for name in ("asm_cutoffs", "asm_div_value")}
_MOST_DIGITS = 18


def read(file: MappedFile, content: Mapping[Any, Any]) -> Found | None:
    """Reads a checkpoint of the original code.

    Args:
        file: the file.
        content: what it holds.

    Returns:
        Its tensors, and what it says of them; None when the file is not one of that program.

    Raises:
        UnsupportedFileError: it holds a model for translation, one with a memory, or no model.
        CorruptFileError: its dictionary contradicts itself.
    """
    if "params" not in content:
        return None
    path = file.path
    if "model" not in content:
        _refuse_parts(path, content)
        return None
    state = tensors_of(file, content, "model")
    _refuse_layers(path, state)
    params = settings_of(content["params"])
    rows, dim = rows_and_columns(path, state, "embeddings.weight")
    positions, _ = rows_and_columns(path, state, "position_embeddings.weight")
    layers = count(state, "attentions.", ".q_lin.weight")
    config: dict[str, Any] = {
        "model_type": "xlm",
        "architectures": ["XLMWithLMHeadModel" if any(name.startswith(_HEAD) for name in state) else "XLMModel"],
        "vocab_size": rows,
        "emb_dim": dim,
        "n_layers": layers,
        "max_position_embeddings": positions,
        "use_lang_emb": "lang_embeddings.weight" in state,
        "embed_init_std": dim**-0.5,
        "torch_dtype": state["embeddings.weight"].dtype.name,
        **chosen(path, params, _FIELDS),
    }
    if config.get("asm"):
        config |= chosen(path, params, _ADAPTIVE)
        if type(config.get("asm_cutoffs")) is str:
            config["asm_cutoffs"] = _cutoffs(path, config["asm_cutoffs"])
    notes: list[str] = []
    config["causal"] = _is_causal(params, notes)
    words = _words(path, content)
    if words is not None and len(words) > rows:
        notes.append(f"the dictionary has {len(words)} words, and the model rows for the first {rows}: the rest is cut")
        words = words[:rows]
    tensors = {name if name.startswith(_HEAD) else _PREFIX + name: entry for name, entry in state.items()}
    return tensors, Origin(PROGRAM, config, words, other_keys(content, *_KNOWN), tuple(notes))


def _refuse_parts(path: Path, content: Mapping[Any, Any]) -> None:
    parts = [kind for name, kind in _TRANSLATION.items() if name in content]
    if parts:
        raise UnsupportedFileError(
            f"'{path}' holds {' and '.join(parts)} of a model for translation of the original XLM code (its keys: "
            f"{', '.join(other_keys(content))}). The classes here are of encoders that read one text; a checkpoint of "
            "these has its weights under 'model'."
        )


def _refuse_layers(path: Path, state: Mapping[str, TensorEntry]) -> None:
    for part, what in _FOREIGN_PARTS.items():
        name = next((name for name in state if name.startswith(part)), None)
        if name is not None:
            raise UnsupportedFileError(
                f"'{path}' holds {what} ('{name}'), which no class of `transformers` or of this package has. Use the "
                "checkpoint of an encoder, or of a language model without it."
            )


def _is_causal(params: Mapping[str, Any], notes: list[str]) -> bool:
    """Whether the model predicted the next word, by the objectives that it was trained with."""
    if "clm_steps" not in params and "mlm_steps" not in params:
        notes.append("the settings name no objective; taken as not causal")
        return False
    next_word, masked = bool(params.get("clm_steps")), bool(params.get("mlm_steps"))
    if next_word and masked:
        notes.append("trained to predict both masked and next words; taken as not causal: causal=True changes that")
    return next_word and not masked


def _cutoffs(path: Path, text: str) -> list[int]:
    """Returns the first words of the clusters, which the settings have as one text.

    Raises:
        CorruptFileError: one is no number.
    """
    cutoffs = [cutoff.strip() for cutoff in text.split(",")]
    if not all(cutoff.isascii() and cutoff.isdecimal() and len(cutoff) <= _MOST_DIGITS for cutoff in cutoffs):
        raise CorruptFileError(
            f"'{path}' should have under 'asm_cutoffs' numbers with commas between them, but has {shown(text)}. "
            "Correct its settings."
        )
    return [int(cutoff) for cutoff in cutoffs]


def _words(path: Path, content: Mapping[Any, Any]) -> list[str] | None:
    """Returns the words of the dictionary by id.

    Raises:
        CorruptFileError: it is no dictionary, or ids are missing.
    """
    by_id, by_word = content.get("dico_id2word"), content.get("dico_word2id")
    if by_id is None and by_word is None:
        return None
    pairs: list[tuple[Any, Any]] = list(by_id.items()) if type(by_id) is dict else []
    if by_id is None and type(by_word) is dict:
        pairs = [(index, word) for word, index in by_word.items()]
    found: list[Any] = [None] * max(1, len(pairs))
    for index, word in pairs:
        if type(index) is int and 0 <= index < len(found):
            found[index] = word
    words = [word for word in found if type(word) is str]
    if len(words) < len(found):
        missing = next(index for index, word in enumerate(found) if type(word) is not str)
        raise CorruptFileError(
            f"'{path}' should have under 'dico_id2word' a word for each id from 0 on, but has none for {missing}. Get "
            "the file again."
        )
    return words
