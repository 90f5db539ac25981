"""Checkpoints as other programs write them, made of the PyTorch models by their own state dicts.

The names are spelled out here a second time, from the module trees of those programs.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10))]


def fair_words(count: int) -> list[str]:
    """A dictionary of the original code: special tokens, pieces that end a word, and pieces that go on."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"{letter}@@" for letter in letters), "th@@", "the", "an", "and"]
    return [*SPECIAL, *pieces, *(f"w{index}" for index in range(count))][:count]


def fair_content(model: Any, *, wrapped: bool = False, training: bool = False, **params: Any) -> dict[str, Any]:
    """What the original code saves of an XLM model.

    Args:
        model: the PyTorch model of `transformers`.
        wrapped: whether it was trained on several devices.
        training: whether the state of the training is there, too.
        **params: settings in place of those that follow from the model.
    """
    config = model.config
    state = {name.removeprefix("transformer."): value for name, value in model.state_dict().items()}
    state.pop("position_ids", None)
    words = fair_words(config.vocab_size)
    settings: dict[str, Any] = {
        "emb_dim": config.emb_dim,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "gelu_activation": config.gelu_activation,
        "sinusoidal_embeddings": config.sinusoidal_embeddings,
        "share_inout_emb": True,
        "asm": False,
        "asm_cutoffs": "8000,20000",
        "asm_div_value": 4.0,
        "n_langs": config.n_langs,
        "lang2id": {f"l{index}": index for index in range(config.n_langs)},
        "id2lang": {index: f"l{index}" for index in range(config.n_langs)},
        "n_words": config.vocab_size,
        "bos_index": 0,
        "eos_index": 1,
        "pad_index": 2,
        "unk_index": 3,
        "mask_index": 5,
        "clm_steps": [("l0", None)] if config.causal else [],
        "mlm_steps": [] if config.causal else [("l0", None)],
        "mask_scores": np.arange(7, dtype=np.float64) ** 0.5,
        "pred_probs": torch.tensor([0.8, 0.1, 0.1]),
        "learning_rate": np.float32(1e-4),
        "is_master": True,
        "dump_path": "./dumped/",
        **params,
    }
    content: dict[str, Any] = {
        "model": {f"module.{name}" if wrapped else name: value for name, value in state.items()},
        "params": settings,
        "dico_id2word": dict(enumerate(words)),
        "dico_word2id": {word: index for index, word in enumerate(words)},
        "dico_counts": {word: 1000 - index for index, word in enumerate(words)},
    }
    if training:
        moments = {index: {"step": 3, "exp_avg": torch.zeros(3)} for index in range(2)}
        groups = [{"lr": 1e-4, "betas": (0.9, 0.98), "params": [0, 1]}]
        content |= {
            "epoch": 7,
            "n_total_iter": 1234,
            "best_metrics": {"valid_mlm_ppl": np.float64(12.5)},
            "best_stopping_criterion": None,
            "model_optimizer": {"state": moments, "param_groups": groups},
        }
    return content


def fairseq_state(
    model: Any, *, prefix: str = "encoder.", old: bool = False, head: str | None = None
) -> dict[str, Any]:
    """The state dict of fairseq's RobertaModel that computes the same as a model of `transformers`.

    Args:
        model: the PyTorch model, of XLM-RoBERTa or XLM-RoBERTa-XL.
        prefix: of the names.
        old: whether with the projections of attention in one matrix, and the older spelling of a normalisation.
        head: name of the classification head, where the model has one.
    """
    theirs, state = model.state_dict(), {}
    is_xl = "roberta.encoder.LayerNorm.weight" in theirs
    body = f"{prefix}sentence_encoder."
    norms = {
        "attention.self_attn_layer_norm" if is_xl else "attention.output.LayerNorm": "self_attn_layer_norm",
        "LayerNorm" if is_xl else "output.LayerNorm": "final_layer_norm",
    }
    dense = {"attention.output.dense": "self_attn.out_proj", "intermediate.dense": "fc1", "output.dense": "fc2"}
    for index in range(model.config.num_hidden_layers):
        source, target = f"roberta.encoder.layer.{index}.", f"{body}layers.{index}."
        for kind in ("weight", "bias"):
            q, k, v = (theirs[f"{source}attention.self.{name}.{kind}"] for name in ("query", "key", "value"))
            if old:
                state[f"{target}self_attn.in_proj_{kind}"] = torch.cat([q, k, v])
            else:
                for name, value in (("q", q), ("k", k), ("v", v)):
                    state[f"{target}self_attn.{name}_proj.{kind}"] = value
            for name, other in (dense | norms).items():
                state[f"{target}{other}.{kind}"] = theirs[f"{source}{name}.{kind}"]
    state[f"{body}embed_tokens.weight"] = theirs["roberta.embeddings.word_embeddings.weight"]
    state[f"{body}embed_positions.weight"] = theirs["roberta.embeddings.position_embeddings.weight"]
    state[f"{body}version"] = torch.tensor([3.0])
    top = "layer_norm" if is_xl else "emb_layer_norm" if old else "layernorm_embedding"
    for kind in ("weight", "bias"):
        state[f"{body}{top}.{kind}"] = theirs[f"roberta.{'encoder' if is_xl else 'embeddings'}.LayerNorm.{kind}"]
        for name in ("dense", "layer_norm"):
            if f"lm_head.{name}.{kind}" in theirs:
                state[f"{prefix}lm_head.{name}.{kind}"] = theirs[f"lm_head.{name}.{kind}"]
        if head is not None:
            for name in ("dense", "out_proj"):
                state[f"classification_heads.{head}.{name}.{kind}"] = theirs[f"classifier.{name}.{kind}"]
    if "lm_head.bias" in theirs:
        state[f"{prefix}lm_head.weight"] = state[f"{body}embed_tokens.weight"]
        state[f"{prefix}lm_head.bias"] = theirs["lm_head.bias"]
    return state


def fairseq_settings(model: Any) -> dict[str, Any]:
    """The settings that fairseq has of such a model, and some others."""
    config = model.config
    return {
        "arch": "roberta_large",
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_fn": "gelu",
        "pooler_activation_fn": "tanh",
        "pooler_dropout": 0.0,
        "max_positions": config.max_position_embeddings - 2,
        "lr": [0.0005],
    }


def as_args(model: Any) -> dict[str, Any]:
    """As older versions keep settings."""
    return {"args": argparse.Namespace(**fairseq_settings(model)), "optimizer_history": [], "extra_state": {"epoch": 3}}


def as_cfg(model: Any) -> dict[str, Any]:
    """As newer versions keep settings."""
    settings = fairseq_settings(model)
    settings["_name"] = settings.pop("arch")
    return {"args": None, "cfg": {"_name": None, "model": settings, "task": {"data": "x"}}, "task_state": {}}


Save = Callable[[Any, Path], None]

# How torch.save writes, by name: today and before version 1.6, and with the newest pickles.
SAVES: dict[str, Save] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "zip, protocol 4": lambda content, path: torch.save(content, path, pickle_protocol=4),
    "legacy, protocol 5": lambda content, path: torch.save(
        content, path, _use_new_zipfile_serialization=False, pickle_protocol=pickle.HIGHEST_PROTOCOL
    ),
}
