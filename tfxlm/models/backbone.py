"""The body of every family: embeddings and a stack of blocks, with or without a cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from keras import ops

from tfxlm.backend import check_range
from tfxlm.configs import PreTrainedConfig
from tfxlm.errors import InputError
from tfxlm.heads.labels import fits
from tfxlm.layers import (
    CacheStep,
    EmbeddingTable,
    KeyValueCache,
    Layer,
    TransformerEmbeddings,
    TransformerEncoder,
    attention_bias,
    choose_rows,
    make_cache,
    make_memory,
    padding_mask,
)


class Backbone(Layer):
    """Embeddings and encoder. A family says what they are made of, and what is looked up for a token.

    Args:
        config: the model's configuration.
        remove_padding: whether padding may be left out of position-wise layers.

    Call arguments:
        The inputs of a model without a head, as int32 and float tensors. With `past_key_values` they are those of the
        new tokens only, and attentions are (batch, heads, new, max_length).
        needs: boolean (batch, length), positions that are computed though they are padding.
        causal: (batch,), not zero for rows that attend as in a causal model; in one, all do.
        positions_to_keep: int32 (batch, P), the only positions whose last hidden states are returned, (batch, P, dim).

    Returns:
        A dict of those of `last_hidden_state`, `past_key_values`, `hidden_states`, `attentions` and `cross_attentions`
        that there are, and the padding mask (batch, length), boolean.
    """

    def __init__(self, config: Any, *, remove_padding: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.remove_padding = config, remove_padding
        self.head_dim = config.hidden_size // config.num_attention_heads
        options: dict[str, Any] = {"norm_epsilon": config.layer_norm_eps, "dtype": self.dtype_policy}
        self.embeddings = TransformerEmbeddings(
            config.hidden_size, self.embedding_tables(config), name="embeddings", **self.embedding_options, **options
        )
        self.encoder = TransformerEncoder(
            config.num_hidden_layers,
            config.hidden_size,
            self.heads,
            head_dim=self.head_dim,
            name="encoder",
            **self.block_options,
            **options,
        )

    # What a family says

    # The field of the configuration that makes a model causal.
    causal_field: ClassVar[str]
    # How calls name the cache.
    cache_name: ClassVar[str] = "past_key_values"

    def embedding_tables(self, config: Any) -> dict[str, EmbeddingTable]:
        """Returns the tables of the embeddings, "word" among them."""
        raise NotImplementedError

    @property
    def embedding_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEmbeddings`."""
        raise NotImplementedError

    @property
    def block_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEncoder`."""
        raise NotImplementedError

    @property
    def padding_id(self) -> int | None:
        """The id that is padding where nothing else says what is; None for none."""
        return self.config.pad_index

    @property
    def first_position(self) -> int:
        """The position id of the first token of a text."""
        return 0

    @property
    def padding_position(self) -> int:
        """The position id of padding."""
        return 0

    def counted(self, input_ids: Any, mask: Any) -> Any:
        """Returns which tokens default positions count, (batch, length) boolean.

        Args:
            input_ids: (batch, length), or None for embeddings.
            mask: (batch, length), the real tokens.
        """
        return mask

    def default_positions(self, places: Any, words: Any, step: CacheStep | None) -> Any:
        """Returns the position ids of tokens, (length,) or (batch, length), int32.

        Args:
            places: (length,), columns of the tokens, or their slots in a cache.
            words: (batch, length) boolean, those that are `counted`.
            step: their place in a cache, or None.
        """
        return places

    def lookups(self, position_ids: Any, langs: Any, token_type_ids: Any) -> Mapping[str, Any]:
        """Returns the ids (batch, length) that are looked up beside the words, by table; None for nothing."""
        raise NotImplementedError

    # What all share

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.embeddings.build()
        self.encoder.build()
        self.built = True

    @property
    def heads(self) -> list[int]:
        """Number of self-attention heads of each layer."""
        pruned, heads = self.config.pruned_heads, self.config.num_attention_heads
        return [heads - len(pruned.get(layer, ())) for layer in range(self.config.num_hidden_layers)]

    def reconfigure(self, config: PreTrainedConfig) -> None:
        """Takes over a configuration that fits the layers, after they or it were changed."""
        self.config = config
        self.embeddings.messages = {name: table.message for name, table in self.embedding_tables(config).items()}

    def make_cache(self, batch_size: Any, max_length: int | None = None) -> KeyValueCache:
        """Makes an empty cache for `max_length` tokens, as many as there are positions by default; see `make_cache`."""
        slots = self.config.max_sequence_length if max_length is None else max_length
        return make_cache(batch_size, slots, self.heads, self.head_dim, self.compute_dtype)

    def call(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        langs: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        lengths: Any = None,
        past_key_values: KeyValueCache | None = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        cache_position: Any = None,
        needs: Any = None,
        causal: Any = None,
        positions_to_keep: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        training: bool | None = None,
    ) -> tuple[dict[str, Any], Any]:
        """Encodes; see the class."""
        words = input_ids if inputs_embeds is None else inputs_embeds
        batch, length = ops.shape(words)[:2]
        if lengths is not None:
            lengths = check_range(lengths, length + 1, "lengths must be at most the sequence length: in [0, length].")
        mask = padding_mask(
            batch,
            length,
            attention_mask=attention_mask,
            lengths=lengths,
            input_ids=input_ids,
            pad_token_id=self.padding_id,
        )
        counted = self.counted(input_ids, mask)
        step = self._step(past_key_values, mask, cache_position, counted)
        # The weights of padding as a query belong to the attentions, so padding stays when they are asked for.
        remove_padding = self.remove_padding and not output_attentions and step is None
        rows = choose_rows(mask if needs is None else mask | needs, remove_padding=remove_padding)
        places = ops.arange(length) if step is None else step.positions
        if position_ids is None:
            position_ids = self.default_positions(places, counted, step)
            position_ids = ops.broadcast_to(position_ids, (batch, length))
        added = self.lookups(position_ids, langs, token_type_ids)
        x = self.embeddings(
            rows.pack(words),
            {table: rows.pack(ids) for table, ids in added.items() if ids is not None},
            training=training,
        )
        keys = mask if step is None else step.mask
        chosen = None if positions_to_keep is None else rows.choose(positions_to_keep)
        memory = self._memory(encoder_hidden_states, encoder_attention_mask, batch, past_key_values)
        encoded = self.encoder(
            x,
            rows=rows,
            bias=attention_bias(keys, causal=self.config.is_causal or causal, queries=places),
            head_mask=head_mask,
            pasts=None if step is None else step.pasts,
            places=places,
            memory=memory,
            chosen=chosen,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            training=training,
        )
        attentions = encoded.attentions
        if step is not None and attentions is not None:
            attentions = tuple(step.over_all_slots(weights) for weights in attentions)
        outputs = {
            "last_hidden_state": (rows if chosen is None else chosen).reveal(encoded.x),
            "past_key_values": None if step is None else step.finish(encoded.pasts),
            "hidden_states": encoded.hidden_states,
            "attentions": attentions,
            "cross_attentions": encoded.cross_attentions,
        }
        return {name: value for name, value in outputs.items() if value is not None}, mask

    def _memory(self, states: Any, mask: Any, batch: Any, cache: KeyValueCache | None) -> Any:
        """Returns what cross-attention looks at; None for nothing, or what is in the cache.

        Raises:
            InputError: when the model has no cross-attention, or shapes do not fit.
        """
        has_memory = cache is not None and cache.has_memory
        if states is None:
            if mask is not None and not has_memory:
                raise InputError("encoder_attention_mask is that of encoder_hidden_states: give both, or none.")
            return None
        config = self.config
        if not config.has_cross_attention:
            raise InputError(
                "encoder_hidden_states are for a model with cross-attention, which this one does not have "
                "(config.add_cross_attention is False). Load it with is_decoder=True, add_cross_attention=True."
            )
        if not fits(tuple(states.shape), (batch if isinstance(batch, int) else None, None, config.hidden_size)):
            raise InputError(
                f"encoder_hidden_states must have shape (batch, encoder length, hidden_size = {config.hidden_size}), "
                f"with the batch of the other inputs; got {tuple(states.shape)}."
            )
        if mask is not None and not fits(tuple(mask.shape), tuple(states.shape[:2])):
            raise InputError(
                f"encoder_attention_mask must have shape {tuple(states.shape[:2])}, as encoder_hidden_states have, got "
                f"{tuple(mask.shape)}."
            )
        if cache is None or not has_memory:
            return make_memory(states, mask)
        # The cache has what the first call made of them.
        known = cache.cross_bias.shape[-1]
        if not fits(tuple(states.shape[1:2]), (known,)):
            raise InputError(
                f"encoder_hidden_states of {states.shape[1]} positions are not those in the cache, which have {known}. "
                "Give the same as in the first call, or none; for others, start with a new cache."
            )
        return None

    def _step(self, cache: KeyValueCache | None, mask: Any, cache_position: Any, counted: Any) -> CacheStep | None:
        """Returns the place of the new tokens in a cache, when there is one.

        Raises:
            InputError: when it is not one of this model, or the model cannot use any.
        """
        if cache is None:
            if cache_position is not None:
                raise InputError(
                    "cache_position says where tokens go in a cache, but the call has no cache. Give both."
                )
            return None
        if not self.config.is_causal:
            raise InputError(
                f"A cache needs a causal model: in this one (config.{self.causal_field} is False) the new tokens would "
                "change what the earlier ones are. Load a causal checkpoint with "
                f"{self.causal_field}=True, or give all tokens and no cache."
            )
        if not isinstance(cache, KeyValueCache):
            raise InputError(
                f"{self.cache_name} must be a KeyValueCache, got {type(cache).__name__}. Make an empty one with "
                "make_cache(batch_size, max_length); each call returns the next."
            )
        config = self.config
        cross_heads = config.num_attention_heads if config.has_cross_attention else 0
        cache.check(mask.shape[0], self.heads, self.head_dim, cross_heads)
        return CacheStep(cache, mask, cache_position, counted)
