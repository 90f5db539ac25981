"""The body of XLM: embeddings and encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range
from tfxlm.configs import XLMConfig
from tfxlm.errors import InputError
from tfxlm.layers import (
    CacheStep,
    EmbeddingTable,
    KeyValueCache,
    NormalWithZeroRow,
    Table,
    TransformerEmbeddings,
    TransformerEncoder,
    activation_named,
    attention_bias,
    choose_rows,
    make_cache,
    padding_mask,
    sinusoidal_table,
)
from tfxlm.models.outputs import TFBaseModelOutput


def embedding_tables(config: XLMConfig) -> dict[str, EmbeddingTable]:
    """Returns XLM's tables: words, positions (learned or sinusoidal), and languages where it has them."""
    normal = keras.initializers.RandomNormal(stddev=config.embed_init_std)
    size = config.max_position_embeddings
    fixed = Table(sinusoidal_table(size, config.emb_dim)) if config.sinusoidal_embeddings else None
    tables = {
        "word": EmbeddingTable(
            config.vocab_size,
            f"input_ids must be in [0, vocab_size = {config.vocab_size}): use the checkpoint's own tokenizer.",
            NormalWithZeroRow(config.embed_init_std, config.pad_index),
        ),
        "position": EmbeddingTable(
            size,
            f"position_ids must be in [0, max_position_embeddings = {size}): truncate the text to {size} tokens.",
            fixed or normal,
            trainable=fixed is None,
        ),
    }
    if config.uses_lang_embeddings:
        known = f": {config.lang2id}" if config.lang2id else ""
        tables["lang"] = EmbeddingTable(
            config.n_langs, f"langs must be language ids in [0, n_langs = {config.n_langs}){known}.", normal
        )
    return tables


class XLMBackbone(keras.layers.Layer):
    """Embeddings and encoder of XLM.

    Args:
        config: the model's configuration.
        remove_padding: whether padding may be left out of position-wise layers.

    Call arguments:
        The inputs of `TFXLMModel`, as int32 and float tensors. With a `cache` they are those of the new tokens only:
        positions default to the tokens' slots, and attentions are (batch, heads, new, max_length).
        positions_to_keep: int32 (batch, P), the only positions whose last hidden states are returned, (batch, P, dim).

    Returns:
        `TFBaseModelOutput`, and the padding mask (batch, length), boolean.
    """

    def __init__(self, config: XLMConfig, *, remove_padding: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.remove_padding = config, remove_padding
        self.head_dim = config.emb_dim // config.n_heads
        options: dict[str, Any] = {"norm_epsilon": config.layer_norm_eps, "dtype": self.dtype_policy}
        self.embeddings = TransformerEmbeddings(
            config.emb_dim, embedding_tables(config), dropout=config.dropout, name="embeddings", **options
        )
        self.encoder = TransformerEncoder(
            config.n_layers,
            config.emb_dim,
            self.heads,
            head_dim=self.head_dim,
            inner_dim=4 * config.emb_dim,
            activation=activation_named("gelu" if config.gelu_activation else "relu"),
            norm="post",
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            kernel_initializer=keras.initializers.RandomNormal(stddev=config.init_std),
            name="encoder",
            **options,
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.embeddings.build()
        self.encoder.build()
        self.built = True

    @property
    def heads(self) -> list[int]:
        """Number of attention heads of each layer."""
        pruned = self.config.pruned_heads
        return [self.config.n_heads - len(pruned.get(layer, ())) for layer in range(self.config.n_layers)]

    def reconfigure(self, config: XLMConfig) -> None:
        """Takes over a configuration that fits the layers, after they or it were changed."""
        self.config = config
        self.embeddings.messages = {name: table.message for name, table in embedding_tables(config).items()}

    def make_cache(self, batch_size: Any, max_length: int | None = None) -> KeyValueCache:
        """Makes an empty cache for `max_length` tokens, `max_position_embeddings` by default; see `make_cache`."""
        slots = self.config.max_position_embeddings if max_length is None else max_length
        return make_cache(batch_size, slots, self.heads, self.head_dim, self.compute_dtype)

    def call(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        langs: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        lengths: Any = None,
        cache: KeyValueCache | None = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        cache_position: Any = None,
        positions_to_keep: Any = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        training: bool | None = None,
    ) -> tuple[TFBaseModelOutput, Any]:
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
            pad_token_id=self.config.pad_index,
        )
        step = self._step(cache, mask, cache_position)
        # The weights of padding as a query belong to the attentions, so padding stays when they are asked for.
        rows = choose_rows(mask, remove_padding=self.remove_padding and not output_attentions and step is None)
        places = ops.arange(length) if step is None else step.positions  # of these tokens among those attended to
        if position_ids is None:
            position_ids = ops.broadcast_to(places[None, :], (batch, length))
        # Token types are looked up among the words: so the original was used, and so checkpoints expect it.
        added = {"position": position_ids, "lang": langs, "word": token_type_ids}
        x = self.embeddings(
            rows.pack(words),
            {table: rows.pack(ids) for table, ids in added.items() if ids is not None},
            training=training,
        )
        keys = mask if step is None else step.mask
        chosen = None if positions_to_keep is None else rows.choose(positions_to_keep)
        x, states, attentions, pasts = self.encoder(
            x,
            rows=rows,
            bias=attention_bias(keys, causal=self.config.causal, queries=places),
            head_mask=head_mask,
            pasts=None if step is None else step.pasts,
            chosen=chosen,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            training=training,
        )
        if step is not None:
            cache = step.finish(pasts)
            attentions = attentions and tuple(step.over_all_slots(weights) for weights in attentions)
        outputs = TFBaseModelOutput(
            last_hidden_state=(rows if chosen is None else chosen).reveal(x),
            hidden_states=states,
            attentions=attentions,
            cache=cache,
        )
        return outputs, mask

    def _step(self, cache: KeyValueCache | None, mask: Any, cache_position: Any) -> CacheStep | None:
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
        if not self.config.causal:
            raise InputError(
                "A cache needs a causal model: in this one (config.causal is False) the new tokens would change what "
                "the earlier ones are. Load a causal checkpoint with causal=True, or give all tokens and no cache."
            )
        if not isinstance(cache, KeyValueCache):
            raise InputError(
                f"cache must be a KeyValueCache, got {type(cache).__name__}. Make an empty one with "
                "make_cache(batch_size, max_length); each call returns the next."
            )
        cache.check(mask.shape[0], self.heads, self.head_dim)
        return CacheStep(cache, mask, cache_position)
