"""The body of XLM: embeddings and encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range
from tfxlm.configs import XLMConfig
from tfxlm.layers import (
    EmbeddingTable,
    NormalWithZeroRow,
    Table,
    TransformerEmbeddings,
    TransformerEncoder,
    activation_named,
    attention_bias,
    choose_rows,
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
        The inputs of `TFXLMModel`, as int32 and float tensors.

    Returns:
        `TFBaseModelOutput`, and the padding mask (batch, length), boolean.
    """

    def __init__(self, config: XLMConfig, *, remove_padding: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config, self.remove_padding = config, remove_padding
        options: dict[str, Any] = {"norm_epsilon": config.layer_norm_eps, "dtype": self.dtype_policy}
        self.embeddings = TransformerEmbeddings(
            config.emb_dim, embedding_tables(config), dropout=config.dropout, name="embeddings", **options
        )
        self.encoder = TransformerEncoder(
            config.n_layers,
            config.emb_dim,
            [config.n_heads - len(config.pruned_heads.get(layer, ())) for layer in range(config.n_layers)],
            head_dim=config.emb_dim // config.n_heads,
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

    def call(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        langs: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        lengths: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
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
        # The weights of padding as a query belong to the attentions, so padding stays when they are asked for.
        rows = choose_rows(mask, remove_padding=self.remove_padding and not output_attentions)
        if position_ids is None:
            position_ids = ops.broadcast_to(ops.arange(length)[None, :], (batch, length))
        # Token types are looked up among the words: so the original was used, and so checkpoints expect it.
        added = {"position": position_ids, "lang": langs, "word": token_type_ids}
        x = self.embeddings(
            rows.pack(words),
            {table: rows.pack(ids) for table, ids in added.items() if ids is not None},
            training=training,
        )
        x, states, attentions = self.encoder(
            x,
            rows=rows,
            bias=attention_bias(mask, causal=self.config.causal),
            head_mask=head_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            training=training,
        )
        return TFBaseModelOutput(last_hidden_state=rows.reveal(x), hidden_states=states, attentions=attentions), mask
