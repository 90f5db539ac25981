"""The body of XLM-RoBERTa and XLM-RoBERTa-XL, and what calls of its models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from tfxlm.backend import is_concrete
from tfxlm.errors import InputError
from tfxlm.layers import (
    CacheStep,
    EmbeddingTable,
    GrowingCache,
    KeyValueCache,
    NormalWithZeroRow,
    SequenceSummary,
    activation_named,
)
from tfxlm.models.backbone import Backbone
from tfxlm.models.backbone_model import BackboneModel
from tfxlm.models.cached_calls import fitted, slots_for
from tfxlm.models.calls import words_of


class RobertaBackbone(Backbone):
    """Words, learned positions and token types; attention with absolute or relative positions.

    Args:
        config: the model's configuration.
        add_pooling_layer: whether there is a layer `pooler`, from the first position's hidden state to one vector.
        **kwargs: further arguments of `Backbone`.
    """

    causal_field: ClassVar[str] = "is_decoder"

    def __init__(self, config: Any, *, add_pooling_layer: bool = False, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.pooler = (
            SequenceSummary(
                config.hidden_size,
                projection_dim=config.hidden_size,
                activation="tanh",
                kernel_initializer=normal(config),
                name="pooler",
                dtype=self.dtype_policy,
            )
            if add_pooling_layer
            else None
        )

    def embedding_tables(self, config: Any) -> dict[str, EmbeddingTable]:
        """Returns the tables of words, positions and token types."""
        positions, types, longest = config.max_position_embeddings, config.type_vocab_size, config.max_sequence_length
        zero_at_padding = NormalWithZeroRow(config.initializer_range, config.pad_index)
        return {
            "word": EmbeddingTable(
                config.vocab_size,
                f"input_ids must be in [0, vocab_size = {config.vocab_size}): use the checkpoint's own tokenizer.",
                zero_at_padding,
                frozen_row=config.pad_index,
            ),
            "position": EmbeddingTable(
                positions,
                f"position_ids must be in [0, max_position_embeddings = {positions}): truncate the text to {longest} "
                "tokens.",
                zero_at_padding,
                # Checkpoints have the table in any case, but only absolute positions are looked up in it.
                trainable=self.has_absolute_positions,
                frozen_row=config.pad_index,
            ),
            "token_type": EmbeddingTable(
                types, f"token_type_ids must be in [0, type_vocab_size = {types}).", normal(config)
            ),
        }

    @property
    def has_absolute_positions(self) -> bool:
        """Whether positions are looked up in a table, not part of the attention scores."""
        return self.config.position_embedding_type == "absolute"

    @property
    def embedding_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEmbeddings`."""
        return {"dropout": self.config.hidden_dropout_prob}

    @property
    def block_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEncoder`."""
        config = self.config
        return {
            "inner_dim": config.intermediate_size,
            "activation": activation_named(config.hidden_act),
            "norm": "post",
            "dropout": config.hidden_dropout_prob,
            "attention_dropout": config.attention_probs_dropout_prob,
            "relative_positions": None if self.has_absolute_positions else config.position_embedding_type,
            "max_positions": config.max_position_embeddings,
            "cross_attention": config.has_cross_attention,
            "kernel_initializer": normal(config),
        }

    @property
    def padding_id(self) -> int | None:
        """The id that is padding where nothing else says what is; None for none."""
        return super().padding_id if self.config.mask_from_padding else None

    @property
    def first_position(self) -> int:
        """The position id of the first token of a text."""
        return self.config.pad_index + 1

    @property
    def padding_position(self) -> int:
        """The position id of padding."""
        return self.config.pad_index

    def make_cache(self, batch_size: Any, max_length: int | None = None) -> KeyValueCache:
        """Makes an empty cache; see `Backbone.make_cache`.

        Raises:
            InputError: when it has more slots than relative positions reach over, and as there.
        """
        cache, reach = super().make_cache(batch_size, max_length), self.config.max_position_embeddings
        slots = cache.max_length
        if not self.has_absolute_positions and isinstance(slots, int) and slots > reach:
            raise InputError(
                f"A cache of {slots} slots is longer than relative positions reach over: make one of at "
                f"most max_position_embeddings = {reach}."
            )
        return cache

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        super().build()
        if self.pooler is not None:
            self.pooler.build()

    def counted(self, input_ids: Any, mask: Any) -> Any:
        """Returns which tokens positions count: all but padding tokens, whatever the mask says."""
        return ops.ones_like(mask) if input_ids is None else ops.not_equal(input_ids, self.config.pad_index)

    def default_positions(self, places: Any, words: Any, step: CacheStep | None) -> Any:
        """Returns positions that count words from the id after the padding token's on; of others, that id."""
        is_word = ops.cast(words, "int32")
        before = 0 if step is None else step.count_before[:, None]
        return is_word * (ops.cumsum(is_word, axis=1) + before) + self.config.pad_index

    def lookups(self, position_ids: Any, langs: Any, token_type_ids: Any) -> Mapping[str, Any]:
        """Returns the ids that are looked up beside the words; the token type is 0 where none is given."""
        return {
            "position": position_ids if self.has_absolute_positions else None,
            "token_type": ops.zeros_like(position_ids) if token_type_ids is None else token_type_ids,
        }


def normal(config: Any) -> keras.initializers.Initializer:
    """Returns the initializer of matrices."""
    return keras.initializers.RandomNormal(stddev=config.initializer_range)


class RobertaModel(BackboneModel):
    """A model around this body, which is its attribute `roberta`."""

    base_model_prefix: ClassVar[str] = "roberta"
    backbone_class: ClassVar[type[Backbone]] = RobertaBackbone

    def encode(self, use_cache: bool | None = None, **inputs: Any) -> tuple[dict[str, Any], Any]:
        """Checks the inputs and runs the backbone; see `BackboneModel.encode`.

        Where nothing says whether to return a cache, `config.use_cache` does, but only for calls outside graphs and
        training: `fit`, `predict` and exported functions would carry keys and values that nobody reads.
        """
        words = words_of(inputs)
        if words is not None and len(words.shape) >= 2:
            if use_cache is None and not inputs.get("training") and "past_key_values" in self.signature.parameters:
                use_cache = (is_concrete(words) and self.config.use_cache) or None
            past, longest = inputs.get("past_key_values"), self.config.max_sequence_length
            if isinstance(past, KeyValueCache):
                mask, position = inputs.get("attention_mask"), inputs.get("cache_position")
                past, inputs["attention_mask"] = fitted(past, words, mask, position, longest)
                inputs["past_key_values"] = past
            elif past is None and use_cache and self.config.is_decoder:
                batch, length = ops.shape(words)[:2]
                # Inside a graph it could not grow.
                slots = slots_for(length, longest) if is_concrete(words) else max(longest, words.shape[1] or 0)
                # Of relative positions none are further away, and the length of the inputs is checked below.
                slots = slots if self.base_model.has_absolute_positions else min(slots, longest)
                inputs["past_key_values"] = GrowingCache(self.make_cache(batch, slots))
        encoded, real = super().encode(**inputs)
        if use_cache is False:
            encoded.pop("past_key_values", None)
        return encoded, real

    @property
    def dummy_inputs(self) -> dict[str, Any]:
        """A small batch that the model takes, int32 (1, 2) of ones, or (1, 2, 2) of a choosing one."""
        ones = ops.ones((1, *(2 for _ in self.text_axes[1:])), "int32")
        inputs = {"input_ids": ones, "attention_mask": ones, "token_type_ids": ops.zeros_like(ones)}
        if self.config.has_cross_attention and "encoder_hidden_states" in self.signature.parameters:
            inputs["encoder_hidden_states"] = ops.ones((1, 2, self.config.hidden_size))
        return inputs
