"""The configuration of XLM."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tfxlm.configs.base import PreTrainedConfig
from tfxlm.configs.checks import (
    ACTIVATION_NAMES,
    FLAG,
    INDEX,
    NOT_NEGATIVE,
    OPTIONAL_INDEX,
    POSITIVE,
    POSITIVE_NUMBER,
    RATE,
    Rule,
    expect,
    int_keys,
    int_values,
    is_int,
    one_of,
)
from tfxlm.errors import ConfigError

SPECIAL_INDICES = ("bos_index", "eos_index", "pad_index", "unk_index", "mask_index")


@dataclasses.dataclass(init=False, repr=False, eq=True)
class XLMConfig(PreTrainedConfig):
    """Configuration of an XLM model (Lample and Conneau, 2019, "Cross-lingual Language Model Pretraining").

    Args:
        vocab_size: number of word ids (alias `n_words`).
        emb_dim: width of the hidden states (alias `hidden_size`).
        n_layers: number of blocks (aliases `n_layer`, `num_hidden_layers`).
        n_heads: attention heads per block (aliases `n_head`, `num_attention_heads`).
        dropout: dropout rate after embeddings, attention and feed-forward.
        attention_dropout: dropout rate of attention weights.
        gelu_activation: exact GELU when True, else ReLU.
        sinusoidal_embeddings: whether positions start as a fixed sinusoidal table.
        causal: whether a position attends to itself and what is left of it only.
        asm: whether the language modeling head is an adaptive softmax (`asm_cutoffs`, `asm_div_value`).
        n_langs: number of languages.
        use_lang_emb: whether language embeddings are added (only when `n_langs` > 1).
        max_position_embeddings: longest sequence, in tokens.
        embed_init_std, init_std: standard deviations of freshly initialised embeddings and kernels.
        layer_norm_eps: epsilon of every layer normalisation.
        bos_index, eos_index, pad_index, unk_index, mask_index: ids of the special tokens.
        is_encoder: must be True; XLM decoders with cross-attention were never released.
        summary_type: which vector stands for a sequence: "first", "last" or "mean" of its real positions; "cls_index"
            is the last one, too, since no class with a summary takes an index.
        summary_use_proj, summary_activation, summary_proj_to_labels, summary_first_dropout, summary_last_dropout: the
            layers after that vector.
        summary_over_padding: reproduces a quirk of ``transformers``: padding counts as positions too.
        start_n_top, end_n_top: beam sizes of the question answering head.
        mask_token_id, lang_id, pad_token_id, bos_token_id, eos_token_id: used by generation.
        lang2id, id2lang: languages by code and by id.
        asm_cutoffs, asm_div_value: clusters of the adaptive softmax.

    Example:
        >>> from tfxlm import XLMConfig
        >>> XLMConfig(emb_dim=64, n_heads=4, n_layer=2).num_hidden_layers
        2
    """

    model_type: ClassVar[str] = "xlm"
    aliases: ClassVar[Mapping[str, str]] = {
        "n_words": "vocab_size",
        "hidden_size": "emb_dim",
        "n_layer": "n_layers",
        "num_hidden_layers": "n_layers",
        "n_head": "n_heads",
        "num_attention_heads": "n_heads",
    }

    vocab_size: int = 30145
    emb_dim: int = 2048
    n_layers: int = 12
    n_heads: int = 16
    dropout: float = 0.1
    attention_dropout: float = 0.1
    gelu_activation: bool = True
    sinusoidal_embeddings: bool = False
    causal: bool = False
    asm: bool = False
    n_langs: int = 1
    use_lang_emb: bool = True
    max_position_embeddings: int = 512
    embed_init_std: float = 2048**-0.5
    layer_norm_eps: float = 1e-12
    init_std: float = 0.02
    bos_index: int = 0
    eos_index: int = 1
    pad_index: int = 2
    unk_index: int = 3
    mask_index: int = 5
    is_encoder: bool = True
    summary_type: str = "first"
    summary_use_proj: bool = True
    summary_activation: str | None = None
    summary_proj_to_labels: bool = True
    summary_first_dropout: float = 0.1
    start_n_top: int = 5
    end_n_top: int = 5
    mask_token_id: int | None = 0
    lang_id: int | None = 0
    pad_token_id: int | None = 2
    bos_token_id: int | None = 0
    eos_token_id: int | None = dataclasses.field(default=None, kw_only=True)
    summary_last_dropout: float = dataclasses.field(default=0.0, kw_only=True)
    summary_over_padding: bool = dataclasses.field(default=False, kw_only=True)
    lang2id: dict[str, int] = dataclasses.field(default_factory=dict, kw_only=True)
    id2lang: dict[int, str] = dataclasses.field(default_factory=dict, kw_only=True)
    asm_cutoffs: list[int] | None = dataclasses.field(default=None, kw_only=True)
    asm_div_value: float = dataclasses.field(default=4.0, kw_only=True)

    free_fields: ClassVar[frozenset[str]] = PreTrainedConfig.free_fields | {
        *("lang2id", "id2lang", "lang_id", "mask_token_id", "pad_token_id"),
    }
    unwritten_defaults: ClassVar[tuple[str, ...]] = (
        *PreTrainedConfig.unwritten_defaults,
        *("summary_over_padding", "lang2id", "id2lang", "asm_cutoffs"),
    )
    checks: ClassVar[Mapping[str, Rule]] = {
        **dict.fromkeys(
            ("vocab_size", "emb_dim", "n_layers", "n_heads", "n_langs", "max_position_embeddings"), POSITIVE
        ),
        **dict.fromkeys(("start_n_top", "end_n_top"), POSITIVE),
        **dict.fromkeys(("dropout", "attention_dropout", "summary_first_dropout", "summary_last_dropout"), RATE),
        **dict.fromkeys(("embed_init_std", "init_std", "layer_norm_eps"), NOT_NEGATIVE),
        **dict.fromkeys(
            (
                "gelu_activation",
                "sinusoidal_embeddings",
                "causal",
                "asm",
                "use_lang_emb",
                "summary_use_proj",
                "summary_proj_to_labels",
                "summary_over_padding",
            ),
            FLAG,
        ),
        **dict.fromkeys(SPECIAL_INDICES, INDEX),
        **dict.fromkeys(("mask_token_id", "lang_id", "pad_token_id", "bos_token_id", "eos_token_id"), OPTIONAL_INDEX),
        "is_encoder": (lambda value: value is True, "True (XLM decoders were never released)"),
        # "attn" is documented by the reference but was never implemented anywhere.
        "summary_type": one_of("first", "last", "mean", "cls_index"),
        "summary_activation": one_of(None, "", *ACTIVATION_NAMES),
        "asm_div_value": POSITIVE_NUMBER,
    }

    def validate(self) -> None:
        """Checks every field and their agreement; see `PreTrainedConfig.validate`."""
        super().validate()
        self._set("id2lang", int_keys(self.id2lang or {}, "id2lang"))
        self._set("lang2id", int_values(self.lang2id or {}, "lang2id"))
        if self.lang2id and not self.id2lang:
            self._set("id2lang", {index: name for name, index in self.lang2id.items()})
        if self.id2lang and not self.lang2id:
            self._set("lang2id", {name: index for index, name in self.id2lang.items()})
        # Several names may share an id.
        wrong = {name for index, name in self.id2lang.items() if self.lang2id.get(name) != index}
        wrong |= {name for name, index in self.lang2id.items() if index not in self.id2lang}
        if wrong:
            raise ConfigError(
                f"Invalid configuration: id2lang and lang2id disagree on {', '.join(sorted(wrong))}. Give one of them, "
                "or make them agree."
            )
        self._check_heads()
        self._expect_word_ids(*SPECIAL_INDICES)
        largest = max(self.lang2id.values(), default=0)
        if self.uses_lang_embeddings:
            expect(largest < self.n_langs, "lang2id", f"ids below n_langs ({self.n_langs})", self.lang2id)
        if self.asm:
            cutoffs = self.asm_cutoffs or []
            expect(
                isinstance(cutoffs, list)
                and bool(cutoffs)
                and all(is_int(cutoff) and 0 < cutoff < self.vocab_size for cutoff in cutoffs)
                and cutoffs == sorted(set(cutoffs)),
                "asm_cutoffs",
                "an increasing list of word ids when asm is True",
                self.asm_cutoffs,
            )
            expect(
                self.emb_dim >= self.asm_div_value ** len(cutoffs),
                "asm_div_value",
                f"small enough that emb_dim ({self.emb_dim}) can be divided by it once for each cutoff {cutoffs}",
                self.asm_div_value,
            )

    @property
    def end_token_id(self) -> int | None:
        """Which id ends a generated text; None for none."""
        return self.eos_index if self.eos_token_id is None else self.eos_token_id

    @property
    def is_causal(self) -> bool:
        """Whether a position attends to itself and what is left of it only."""
        return self.causal

    @property
    def max_sequence_length(self) -> int:
        """Length of the longest sequence, in real tokens."""
        return self.max_position_embeddings

    @property
    def uses_lang_embeddings(self) -> bool:
        """Whether the model adds language embeddings: `use_lang_emb` and more than one language."""
        return self.use_lang_emb and self.n_langs > 1

    def replace(self, /, **changes: Any) -> Self:
        """Returns a copy with changed fields, see `PreTrainedConfig.replace`; one language mapping replaces both."""
        if len({"lang2id", "id2lang"} & set(changes)) == 1:
            changes = {"lang2id": {}, "id2lang": {}} | changes
        return super().replace(**changes)
