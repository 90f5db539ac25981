"""The families of models, as data that tests run over: small configurations, classes by task, and names of fields."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import tfxlm
from tfxlm import XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig

# Whether everything is tried with everything, and not a part of it.
SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")

# What classes need of a configuration, by what follows the family's name in theirs. Decoders return no cache where
# nothing asks for one, so that a call and `predict` have the same outputs.
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "ForCausalLM": {"is_decoder": True, "use_cache": False},
    "ForQuestionAnswering": {"num_labels": 2},
    "ForQuestionAnsweringSimple": {"num_labels": 2},
}


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """A family of models.

    Args:
        prefix: what the names of its classes begin with.
        config: of a tiny model with two layers, room for 20 tokens and three labels.
        tasks: what follows in the names of its classes.
        dropout: names of the fields that are dropout rates; the first is that of the hidden states.
        language_model: of `tasks`, the one that predicts masked tokens.
        causal: the field that makes models causal.
        cache: how calls and outputs name the cache.
        deviation: the field with the standard deviation of new embeddings.
        padding: the field with the id of padding.
    """

    prefix: str
    config: Any
    tasks: tuple[str, ...]
    dropout: tuple[str, ...]
    language_model: str
    causal: str
    cache: str
    deviation: str
    padding: str

    def __str__(self) -> str:
        return self.prefix.removeprefix("TF")

    @property
    def small(self) -> Any:
        """The configuration with one layer and without dropout."""
        return self.config.replace(num_hidden_layers=1, **dict.fromkeys(self.dropout, 0.0))

    def cls(self, task: str) -> Any:
        """A class."""
        return getattr(tfxlm, self.prefix + task)

    @property
    def classes(self) -> list[Any]:
        """All classes."""
        return [self.cls(task) for task in self.tasks]

    def config_of(self, task: str, **changes: Any) -> Any:
        """A configuration that a class can be made from."""
        return self.config.replace(**{**NEEDS.get(task, {}), **changes})


XLM = Family(
    prefix="TFXLM",
    config=XLMConfig(
        vocab_size=37, emb_dim=16, n_heads=2, n_layers=2, n_langs=2, lang2id={"de": 0, "en": 1},
        max_position_embeddings=20, num_labels=3, dropout=0.1,
    ),
    tasks=(
        *("Model", "WithLMHeadModel", "ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification"),
        *("ForQuestionAnsweringSimple", "ForQuestionAnswering"),
    ),
    dropout=("dropout", "attention_dropout", "summary_first_dropout"),
    language_model="WithLMHeadModel",
    causal="causal",
    cache="cache",
    deviation="embed_init_std",
    padding="pad_index",
)  # fmt: skip

_ROBERTA: dict[str, Any] = {
    "tasks": (
        *("Model", "ForCausalLM", "ForMaskedLM", "ForSequenceClassification", "ForMultipleChoice"),
        *("ForTokenClassification", "ForQuestionAnswering"),
    ),
    "dropout": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "language_model": "ForMaskedLM",
    "causal": "is_decoder",
    "cache": "past_key_values",
    "deviation": "initializer_range",
    "padding": "pad_token_id",
}
# Positions count from the one after the padding token's id on.
_SHAPE: dict[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 22,
    "type_vocab_size": 2,
    "num_labels": 3,
    "layer_norm_eps": 1e-5,
}
XLM_ROBERTA = Family(prefix="TFXLMRoberta", config=XLMRobertaConfig(**_SHAPE), **_ROBERTA)
XLM_ROBERTA_XL = Family(prefix="TFXLMRobertaXL", config=XLMRobertaXLConfig(**_SHAPE), **_ROBERTA)

FAMILIES = (XLM, XLM_ROBERTA, XLM_ROBERTA_XL)
# Those with the body of XLM-RoBERTa.
ROBERTAS = (XLM_ROBERTA, XLM_ROBERTA_XL)
