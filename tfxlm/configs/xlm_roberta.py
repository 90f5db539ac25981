"""The configurations of XLM-RoBERTa and XLM-RoBERTa-XL: one set of fields, with two sets of defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tfxlm.configs.base import PreTrainedConfig
from tfxlm.configs.checks import (
    ACTIVATION_NAMES,
    FLAG,
    INDEX,
    NOT_NEGATIVE,
    OPTIONAL_INDEX,
    OPTIONAL_RATE,
    POSITIVE,
    RATE,
    Rule,
    expect,
    one_of,
)

POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")


@dataclasses.dataclass(init=False, repr=False, eq=True)
class RobertaFamilyConfig(PreTrainedConfig):
    """What `XLMRobertaConfig` and `XLMRobertaXLConfig` share: everything but the defaults.

    Args:
        vocab_size: number of word ids.
        hidden_size: width of the hidden states.
        num_hidden_layers: number of blocks.
        num_attention_heads: attention heads per block.
        intermediate_size: inner width of the feed-forward layers.
        hidden_act: activation of the feed-forward layers: "gelu" (exact), "relu", "silu", "gelu_new" and others, or a
            function of tensors. A function works, but cannot be written to a file.
        hidden_dropout_prob: dropout rate after embeddings, attention and feed-forward, and of heads.
        attention_probs_dropout_prob: dropout rate of attention weights.
        max_position_embeddings: rows of the position table. The first token has position `pad_token_id` + 1, so the
            longest sequence is shorter; see `max_sequence_length`.
        type_vocab_size: number of token types.
        initializer_range: standard deviation of freshly initialised embeddings and kernels.
        layer_norm_eps: epsilon of every layer normalisation.
        pad_token_id, bos_token_id, eos_token_id: ids of special tokens.
        position_embedding_type: "absolute", "relative_key" (Shaw et al., 2018) or "relative_key_query" (Huang et al.,
            2020).
        use_cache: whether a decoder returns a cache where a call does not say it, outside of graphs and training.
        classifier_dropout: dropout rate of classification heads; `hidden_dropout_prob` when None.
        is_decoder: whether a position attends to itself and what is left of it only.
        add_cross_attention: whether a decoder's blocks attend to `encoder_hidden_states`, too.
        mask_from_padding: whether, without an `attention_mask` and without `lengths`, padding ids are no real tokens;
            an extension, so that answers do not depend on padding. False is as in ``transformers``, where all are.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str | Callable[[Any], Any] = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 1
    bos_token_id: int | None = 0
    eos_token_id: int | None = 2
    position_embedding_type: str = "absolute"
    use_cache: bool = True
    classifier_dropout: float | None = None
    is_decoder: bool = dataclasses.field(default=False, kw_only=True)
    add_cross_attention: bool = dataclasses.field(default=False, kw_only=True)
    mask_from_padding: bool = dataclasses.field(default=True, kw_only=True)

    free_fields: ClassVar[frozenset[str]] = PreTrainedConfig.free_fields | {"use_cache"}
    unwritten_defaults: ClassVar[tuple[str, ...]] = (
        *PreTrainedConfig.unwritten_defaults,
        "mask_from_padding",
    )
    checks: ClassVar[Mapping[str, Rule]] = {
        **dict.fromkeys(("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"), POSITIVE),
        **dict.fromkeys(("intermediate_size", "max_position_embeddings", "type_vocab_size"), POSITIVE),
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), RATE),
        **dict.fromkeys(("initializer_range", "layer_norm_eps"), NOT_NEGATIVE),
        **dict.fromkeys(("bos_token_id", "eos_token_id"), OPTIONAL_INDEX),
        **dict.fromkeys(("is_decoder", "add_cross_attention", "use_cache", "mask_from_padding"), FLAG),
        "hidden_act": (
            lambda value: callable(value) or value in ACTIVATION_NAMES,
            "a function, or one of " + ", ".join(map(repr, ACTIVATION_NAMES)),
        ),
        "pad_token_id": INDEX,
        "position_embedding_type": one_of(*POSITION_TYPES),
        "classifier_dropout": OPTIONAL_RATE,
    }

    def validate(self) -> None:
        """Checks every field and their agreement; see `PreTrainedConfig.validate`."""
        super().validate()
        self._check_heads()
        self._expect_word_ids("pad_token_id")
        expect(
            self.max_position_embeddings > self.pad_token_id + 1,
            "max_position_embeddings",
            f"above {self.pad_token_id + 1}, the position of the first token (pad_token_id + 1)",
            self.max_position_embeddings,
        )
        expect(
            self.is_decoder or not self.add_cross_attention,
            "add_cross_attention",
            "False unless is_decoder is True",
            self.add_cross_attention,
        )

    @property
    def end_token_id(self) -> int | None:
        """Which id ends a generated text; None for none."""
        return self.eos_token_id

    @property
    def is_causal(self) -> bool:
        """Whether a position attends to itself and what is left of it only."""
        return self.is_decoder

    @property
    def has_cross_attention(self) -> bool:
        """Whether blocks attend to the hidden states of an encoder, too."""
        return self.add_cross_attention

    @property
    def pad_index(self) -> int:
        """The word id of padding."""
        return self.pad_token_id

    @property
    def max_sequence_length(self) -> int:
        """Length of the longest sequence, in real tokens."""
        first = self.pad_token_id + 1 if self.position_embedding_type == "absolute" else 0
        return self.max_position_embeddings - first

    @property
    def classifier_dropout_rate(self) -> float:
        """Dropout rate of classification heads."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


@dataclasses.dataclass(init=False, repr=False, eq=True)
class XLMRobertaConfig(RobertaFamilyConfig):
    """Configuration of an XLM-RoBERTa model (Conneau et al., 2019, "Unsupervised Cross-lingual Representation Learning
    at Scale").

    The defaults are those of ``transformers``, and no released model's: those have `vocab_size` 250002,
    `max_position_embeddings` 514, `type_vocab_size` 1 and `layer_norm_eps` 1e-5.

    Args:
        **fields: see `RobertaFamilyConfig`.

    Example:
        >>> from tfxlm import XLMRobertaConfig
        >>> XLMRobertaConfig(vocab_size=250002, max_position_embeddings=514).max_sequence_length
        512
    """

    model_type: ClassVar[str] = "xlm-roberta"


@dataclasses.dataclass(init=False, repr=False, eq=True)
class XLMRobertaXLConfig(RobertaFamilyConfig):
    """Configuration of an XLM-RoBERTa-XL or -XXL model (Goyal et al., 2021, "Larger-Scale Transformers for Multilingual
    Masked Language Modeling").

    The defaults are those of XLM-RoBERTa-XL. The released file of XXL says `model_type: xlm-roberta` and is recognised
    by its `architectures`.

    Args:
        **fields: see `RobertaFamilyConfig`.

    Example:
        >>> from tfxlm import XLMRobertaXLConfig
        >>> XLMRobertaXLConfig(hidden_size=64, num_attention_heads=4).num_hidden_layers
        36
    """

    model_type: ClassVar[str] = "xlm-roberta-xl"

    vocab_size: int = 250880
    hidden_size: int = 2560
    num_hidden_layers: int = 36
    num_attention_heads: int = 32
    intermediate_size: int = 10240
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-5
