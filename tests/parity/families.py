"""The families that are compared, as data: random configurations, and what their models are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers

if TYPE_CHECKING:
    from tests.parity.reference import Case

Config = dict[str, Any]
Names = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """What the classes of a family have in common.

    Args:
        body: the class without a head.
        config: the configuration of the reference.
        random_config: draws a configuration, with the common names of fields; see `random_xlm_config`.
        as_reference: options of loading with which ours treats padding as the reference does.
        finds_padding: whether the reference finds padding in ids where it is given no mask.
        combines_masks: whether the reference hides padding from causal attention too.
        draw: draws what only this family has at positions, for ids (rows, length).
        batch: what a batch is given with, labels aside.
        optional: those of them without which the losses are compared too.
        variants: what the outputs are compared with, by what the combination is called.
        cache_name: what the cache is called in calls and outputs.
        cached: what new tokens are given with, beside their ids, when there is a cache.
        repeats_past: whether the reference takes earlier tokens again beside its cache.
    """

    body: str
    config: Any
    random_config: Callable[[np.random.Generator, int], Config]
    as_reference: Config
    finds_padding: bool
    combines_masks: bool
    draw: Callable[[Case, np.ndarray], dict[str, np.ndarray]]
    batch: Names
    optional: Names
    variants: Mapping[str, Names]
    cache_name: str
    cached: tuple[Names, ...]
    repeats_past: bool


def random_xlm_config(rng: np.random.Generator, index: int) -> Config:
    """Draws a configuration; what has few values is cycled through, so that a few cases see all of them."""
    heads, head_dim = int(rng.integers(1, 5)), int(rng.choice([9, 11, 13, 16]))
    n_langs = (1, 2, 5)[index % 3]
    config: Config = {
        "vocab_size": int(rng.integers(23, 64)),
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_hidden_layers": 1 + index % 3,
        "causal": index % 2 == 1,
        "n_langs": n_langs,
        "use_lang_emb": index % 7 != 3,
        "gelu_activation": index % 5 not in (1, 4),
        "sinusoidal_embeddings": index % 6 == 5,
        "max_position_embeddings": int(rng.integers(19, 41)),
        "layer_norm_eps": float(rng.choice([1e-12, 1e-6, 1e-5, 1e-3])),
        "pad_index": int(rng.choice([2, 2, 0, 7])),
        "summary_type": ("first", "last", "mean", "cls_index")[index % 4],
        "summary_use_proj": index % 10 != 9,
        "summary_proj_to_labels": index % 8 != 6,
        "summary_activation": (None, None, "tanh", "relu", "gelu")[index % 5],
        "num_labels": (3, 2, 5, 1)[(index // 4) % 4],
        "start_n_top": (3, 1, 5, 2)[index % 4],
        "end_n_top": (2, 5, 1, 3, 4)[index % 5],
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "summary_first_dropout": 0.0,
        "summary_last_dropout": 0.0,
    }
    if n_langs > 1:
        config["lang2id"] = {f"l{i}": i for i in range(n_langs)}
        config["id2lang"] = {str(i): f"l{i}" for i in range(n_langs)}
    return config


def random_roberta_config(rng: np.random.Generator, index: int) -> Config:
    """Draws a configuration of XLM-RoBERTa or XLM-RoBERTa-XL; see `random_xlm_config`."""
    heads, head_dim = int(rng.integers(1, 5)), int(rng.choice([9, 11, 13, 16]))
    is_decoder = index % 2 == 1
    return {
        "vocab_size": int(rng.integers(23, 64)),
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_hidden_layers": 1 + (index // 3) % 3,
        "intermediate_size": int(rng.integers(5, 70)),
        "hidden_act": ("gelu", "relu", "silu", "gelu_new")[(index // 5) % 4],
        "position_embedding_type": ("absolute", "relative_key", "relative_key_query")[index % 3],
        "is_decoder": is_decoder,
        "add_cross_attention": is_decoder and index % 4 == 1,
        "max_position_embeddings": int(rng.integers(24, 41)),
        "type_vocab_size": 1 + (index // 2) % 3,
        "layer_norm_eps": float(rng.choice([1e-12, 1e-6, 1e-5, 1e-3])),
        "pad_token_id": int(rng.choice([1, 1, 0, 7])),
        "num_labels": (3, 2, 5, 1)[(index // 4) % 4],
        "classifier_dropout": (None, 0.0)[index % 2],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        # A cache that nobody asked for makes relative positions of the reference wrong.
        "use_cache": False,
    }


def draw_for_xlm(case: Case, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Languages, and token types, which are words."""
    return {"langs": case.grid(ids, case.config.n_langs), "token_type_ids": case.grid(ids, case.config.vocab_size)}


def draw_for_roberta(case: Case, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Token types."""
    return {"token_type_ids": case.grid(ids, case.config.type_vocab_size)}


XLM = Family(
    body="XLMModel",
    config=transformers.XLMConfig,
    random_config=random_xlm_config,
    as_reference={"summary_over_padding": True},
    finds_padding=True,
    combines_masks=False,
    draw=draw_for_xlm,
    batch=("input_ids", "lengths", "langs"),
    optional=("langs",),
    variants={
        "ids": ("input_ids",),
        "mask": ("input_ids", "attention_mask"),
        "lengths": ("input_ids", "lengths"),
        "langs": ("input_ids", "attention_mask", "langs"),
        "positions": ("input_ids", "langs", "position_ids"),
        "types": ("input_ids", "lengths", "langs", "token_type_ids"),
        "mask and lengths": ("input_ids", "attention_mask", "lengths", "langs"),
        "head mask": ("input_ids", "attention_mask", "head_mask"),
        "head mask, langs": ("input_ids", "langs", "head_mask"),
        "embeds": ("inputs_embeds",),
        "embeds and mask": ("inputs_embeds", "attention_mask", "langs"),
    },
    cache_name="cache",
    cached=((), ("langs",), ("langs", "attention_mask"), ("position_ids", "token_type_ids")),
    repeats_past=True,
)


def roberta_family(stem: str) -> Family:
    """Makes the family whose classes are called `stem` and more; in what is compared, the two are one."""
    return Family(
        body=f"{stem}Model",
        config=getattr(transformers, f"{stem}Config"),
        random_config=random_roberta_config,
        as_reference={"mask_from_padding": False},
        finds_padding=False,
        combines_masks=True,
        draw=draw_for_roberta,
        batch=("input_ids", "attention_mask", "token_type_ids"),
        optional=("attention_mask", "token_type_ids"),
        variants={
            "ids": ("input_ids",),
            "mask": ("input_ids", "attention_mask"),
            "types": ("input_ids", "attention_mask", "token_type_ids"),
            "positions": ("input_ids", "attention_mask", "position_ids"),
            "positions and types": ("input_ids", "position_ids", "token_type_ids"),
            "head mask": ("input_ids", "attention_mask", "head_mask"),
            "embeds": ("inputs_embeds",),
            "embeds and mask": ("inputs_embeds", "attention_mask", "token_type_ids"),
        },
        cache_name="past_key_values",
        cached=((), ("attention_mask",), ("attention_mask", "position_ids"), ("token_type_ids",)),
        repeats_past=False,
    )
