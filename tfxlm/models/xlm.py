"""XLM (Lample and Conneau, 2019, "Cross-lingual Language Model Pretraining"): the model and its language modeling."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.configs import PreTrainedConfig, XLMConfig
from tfxlm.layers import (
    AdaptiveSoftmax,
    EmbeddingTable,
    NormalWithZeroRow,
    Table,
    TiedProjection,
    activation_named,
    sinusoidal_table,
)
from tfxlm.models.backbone import Backbone
from tfxlm.models.backbone_model import BackboneModel
from tfxlm.models.batches import Labels
from tfxlm.models.decoding import MaskReading, Reading
from tfxlm.models.outputs import ModelOutput, TFBaseModelOutput, TFXLMWithLMHeadModelOutput
from tfxlm.models.tasks import LanguageModeling

INPUTS = (
    *("input_ids", "attention_mask", "langs", "token_type_ids", "position_ids", "lengths", "cache", "head_mask"),
    *("inputs_embeds", "output_attentions", "output_hidden_states", "return_dict"),
)

# A batch that every model takes, and one with two choices, as `transformers` has them.
_IDS = ((7, 6, 0, 0, 1), (1, 2, 3, 0, 0), (0, 0, 0, 4, 5))
_MASK = ((1, 1, 0, 0, 1), (1, 1, 1, 0, 0), (1, 0, 0, 1, 1))
_CHOICES = (((0, 1, 0, 1), (1, 0, 0, 1)),) * 2


class XLMBackbone(Backbone):
    """Words, positions (learned or sinusoidal), and languages where the model has them; post-LN blocks."""

    causal_field: ClassVar[str] = "causal"
    cache_name: ClassVar[str] = "cache"

    def embedding_tables(self, config: Any) -> dict[str, EmbeddingTable]:
        """Returns the tables of words, positions and languages."""
        normal = keras.initializers.RandomNormal(stddev=config.embed_init_std)
        size = config.max_position_embeddings
        fixed = Table(sinusoidal_table(size, config.emb_dim)) if config.sinusoidal_embeddings else None
        tables = {
            "word": EmbeddingTable(
                config.vocab_size,
                f"input_ids must be in [0, vocab_size = {config.vocab_size}): use the checkpoint's own tokenizer.",
                NormalWithZeroRow(config.embed_init_std, config.pad_index),
                frozen_row=config.pad_index,
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

    @property
    def embedding_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEmbeddings`."""
        return {"dropout": self.config.dropout}

    @property
    def block_options(self) -> dict[str, Any]:
        """Further arguments of `TransformerEncoder`."""
        config = self.config
        return {
            "inner_dim": 4 * config.emb_dim,
            "activation": activation_named("gelu" if config.gelu_activation else "relu"),
            "norm": "post",
            "dropout": config.dropout,
            "attention_dropout": config.attention_dropout,
            "kernel_initializer": keras.initializers.RandomNormal(stddev=config.init_std),
        }

    def lookups(self, position_ids: Any, langs: Any, token_type_ids: Any) -> Mapping[str, Any]:
        """Returns the ids that are looked up beside the words."""
        # Token types are looked up among the words: so the original was used, and so checkpoints expect it.
        langs = langs if self.config.uses_lang_embeddings else None
        return {"position": position_ids, "lang": langs, "word": token_type_ids}


class TFXLMPreTrainedModel(BackboneModel):
    """What the XLM classes share; see `TFXLMModel` for the call arguments.

    Source: Lample and Conneau, "Cross-lingual Language Model Pretraining" (2019).

    Example:
        >>> from tfxlm import TFXLMModel, TFXLMPreTrainedModel
        >>> issubclass(TFXLMModel, TFXLMPreTrainedModel)
        True
    """

    config_class: ClassVar[type[PreTrainedConfig]] = XLMConfig
    name_map: ClassVar[NameMap] = XLM
    base_model_prefix: ClassVar[str] = "transformer"
    backbone_class: ClassVar[type[Backbone]] = XLMBackbone

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the backbone."""
        super().make_layers(config)
        self._has_warned_of_langs = False

    def encode(self, **inputs: Any) -> tuple[dict[str, Any], Any]:
        """Checks the inputs and runs the backbone; see `BackboneModel.encode`."""
        if inputs.get("langs") is None and self.config.uses_lang_embeddings and not self._has_warned_of_langs:
            self._has_warned_of_langs = True
            warnings.warn(
                f"{type(self).__name__} was trained with language embeddings, but the call has no langs: answers will "
                "be worse. Pass langs (tokenizer(..., lang=...) makes them).",
                stacklevel=2,
            )
        return super().encode(**inputs)

    @property
    def dummy_inputs(self) -> dict[str, Any]:
        """A small batch that the model takes, int32 (batch, length), or (batch, choices, length) of a choosing one."""
        chooses = "choices" in self.text_axes
        ids = np.asarray(_CHOICES if chooses else _IDS, np.int32) % self.config.vocab_size
        inputs = {"input_ids": ids} if chooses else {"input_ids": ids, "attention_mask": np.asarray(_MASK, np.int32)}
        if self.config.uses_lang_embeddings:
            inputs["langs"] = np.asarray(_CHOICES if chooses else _MASK, np.int32)
        return {name: ops.convert_to_tensor(value) for name, value in inputs.items()}


class TFXLMModel(TFXLMPreTrainedModel):
    """The XLM encoder without a head.

    Args:
        config: `XLMConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        input_ids: int (batch, length). Or a dict, list or tuple of all arguments.
        attention_mask: int, float or bool (batch, length), 1 at real positions and 0 at padding. Without it `lengths`
            count, and without them every id but the padding token's is real.
        langs: int (batch, length), the language id of each token (`config.lang2id`).
        token_type_ids: int (batch, length), looked up among the words (a quirk of the original). Leave it out.
        position_ids: int (batch, length); 0, 1, 2, ... by default. With them a sequence may be longer than
            `max_position_embeddings`.
        lengths: int (batch,), real tokens at the start of each row.
        cache: `KeyValueCache` of the tokens before, from `make_cache` or the outputs of the last call. The other inputs
            then are those of the new tokens only; positions go on counting. For causal models.
        head_mask: float (heads,) or (layers, heads), 0 silences a head. Not for models with pruned heads.
        inputs_embeds: float (batch, length, dim), in place of `input_ids`.
        output_attentions, output_hidden_states, return_dict: override the configuration.
        training: whether dropout is on.
        cache_position: by keyword: int, the slot of the cache for the first new token (or (new,), consecutive slots for
            all), to go back and write over later ones. They come after all that is there by default.

    Returns:
        `TFBaseModelOutput`, or its tuple when `return_dict` is False. Padding is zero.

    Raises:
        InputError: when inputs are missing, contradict each other, or do not fit the model.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMModel, XLMConfig
        >>> model = TFXLMModel(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1))
        >>> model(np.array([[0, 14, 15, 1]])).last_hidden_state.shape
        TensorShape([1, 4, 16])
    """

    architecture: ClassVar[str] = "XLMModel"
    has_head: ClassVar[bool] = False
    labels: Labels = Labels({"labels": "last_hidden_state"})
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("cache_position",)

    def forward(self, return_dict: bool | None = None, **inputs: Any) -> Any:
        """Computes the outputs; see the class."""
        encoded, _ = self.encode(**inputs)
        return self.finish(TFBaseModelOutput(encoded), return_dict)


class TFXLMWithLMHeadModel(LanguageModeling, TFXLMPreTrainedModel):
    """XLM with a language modeling head.

    The head is the word embeddings again, with a bias of its own; or, with `asm=True`, an adaptive softmax
    (`asm_cutoffs`, `asm_div_value`), whose logits are log-probabilities.

    Args:
        config: `XLMConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel`, and by keyword:
        labels: int (batch, length), or (batch, P) with chosen positions; -100 is ignored. They are not shifted.
        masked_positions: int (batch, P), the only positions whose logits are computed.
        logits_to_keep: an int n for the last n positions, or int (P,) positions.
        causal: bool (batch,), rows whose positions attend to themselves and what is left of them only, so that masked
            and causal language modeling are learned together. Where `config.causal` is True, all rows do.

    Returns:
        `TFXLMWithLMHeadModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when chosen positions are past the end.
        ConfigError: for an output layer that does not share the word embeddings (`tie_word_embeddings=False`).

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMWithLMHeadModel, XLMConfig
        >>> model = TFXLMWithLMHeadModel(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1))
        >>> model(np.array([[0, 5, 15, 1]]), masked_positions=np.array([[1]])).logits.shape
        TensorShape([1, 1, 30])
    """

    architecture: ClassVar[str] = "XLMWithLMHeadModel"
    lm_head_name: ClassVar[str | None] = "pred_layer"
    output_class: ClassVar[type[ModelOutput]] = TFXLMWithLMHeadModelOutput
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = (
        *("labels", "masked_positions", "logits_to_keep", "cache_position", "causal"),
    )

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body and the head."""
        if not config.asm:
            self.check_tied(config)
        super().make_layers(config)
        options: dict[str, Any] = {"name": "pred_layer", "dtype": self.dtype_policy}
        if config.asm:
            # An adaptive softmax is cheap where it knows the label: it has to see them.
            self.labels = dataclasses.replace(self.labels, needed_by_call=True)
            self.head_arguments = ("labels",)
            self.pred_layer = AdaptiveSoftmax(
                config.emb_dim,
                config.vocab_size,
                config.asm_cutoffs or (),
                div_value=config.asm_div_value,
                kernel_initializer=keras.initializers.RandomNormal(stddev=config.init_std),
                **options,
            )
        else:
            self.pred_layer = TiedProjection(config.vocab_size, **options)

    def reading(self, most: int, hf_compat: bool = False) -> Reading:
        """Returns how the model reads texts token by token; see `Generating`."""
        return MaskReading(self, most) if hf_compat else super().reading(most)

    def token_logits(self, hidden_states: Any) -> Any:
        """(batch, P, dim) -> (batch, P, vocab_size)."""
        if self.config.asm:
            return self.pred_layer(hidden_states)
        return self.pred_layer(hidden_states, self.get_input_embeddings().embeddings)

    def label_log_probs(self, hidden_states: Any, labels: Any) -> Any:
        """(batch, P, dim), int32 (batch, P) -> (batch, P); see `LanguageModeling`."""
        return self.pred_layer.target_log_probs(hidden_states, labels)
