"""XLM (Lample and Conneau, 2019, "Cross-lingual Language Model Pretraining")."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import keras

from tfxlm.checkpoints import NameMap
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.configs import PreTrainedConfig, XLMConfig
from tfxlm.errors import ConfigError, InputError
from tfxlm.heads.classification import classification_loss, problem_of
from tfxlm.heads.language_modeling import language_modeling_loss, select_positions
from tfxlm.layers import SequenceSummary, TiedProjection, activation_named
from tfxlm.models.calls import check_grid, check_head_mask
from tfxlm.models.outputs import (
    ModelOutput,
    TFBaseModelOutput,
    TFSequenceClassifierOutput,
    TFXLMWithLMHeadModelOutput,
)
from tfxlm.models.pretrained import TFPreTrainedModel
from tfxlm.models.xlm_backbone import XLMBackbone

INPUTS = (
    *("input_ids", "attention_mask", "langs", "token_type_ids", "position_ids", "lengths", "cache", "head_mask"),
    *("inputs_embeds", "output_attentions", "output_hidden_states", "return_dict"),
)


class TFXLMPreTrainedModel(TFPreTrainedModel):
    """What the XLM classes share; see `TFXLMModel` for the call arguments."""

    config_class: ClassVar[type[PreTrainedConfig]] = XLMConfig
    name_map: ClassVar[NameMap] = XLM
    config: XLMConfig

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the backbone."""
        self.transformer = XLMBackbone(config, name="transformer", dtype=self.dtype_policy)
        self._has_warned_of_langs = False

    def encode(
        self,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        cache: Any = None,
        langs: Any = None,
        **inputs: Any,
    ) -> tuple[TFBaseModelOutput, Any]:
        """Checks the inputs and runs the backbone.

        Returns:
            Its outputs, and the padding mask (batch, length), boolean.

        Raises:
            InputError: when inputs are missing, contradict each other, or do not fit the model.
        """
        config = self.config
        if cache is not None:
            raise InputError("TFXLM models take no cache yet; pass the whole sequence without it.")
        check_grid({**inputs, "langs": langs}, config.max_position_embeddings, config.emb_dim)
        check_head_mask(inputs.get("head_mask"), config.n_layers, config.n_heads, bool(config.pruned_heads))
        if langs is None and config.uses_lang_embeddings and not self._has_warned_of_langs:
            self._has_warned_of_langs = True
            warnings.warn(
                f"{type(self).__name__} was trained with language embeddings, but the call has no langs: answers will "
                "be worse. Pass langs (tokenizer(..., lang=...) makes them).",
                stacklevel=2,
            )
        return self.transformer(
            langs=langs if config.uses_lang_embeddings else None,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            **inputs,
        )


class TFXLMModel(TFXLMPreTrainedModel):
    """The XLM encoder without a head.

    Args:
        config: `XLMConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        input_ids: int (batch, length). Or a dict, list or tuple of all arguments.
        attention_mask: (batch, length), 1 at real positions and 0 at padding. Without it `lengths` count, and without
            them every id but the padding token's is real.
        langs: int (batch, length), the language id of each token (`config.lang2id`).
        token_type_ids: int (batch, length), looked up among the words (a quirk of the original). Leave it out.
        position_ids: int (batch, length); 0, 1, 2, ... by default. With them a sequence may be longer than
            `max_position_embeddings`.
        lengths: int (batch,), real tokens at the start of each row.
        cache: not supported yet.
        head_mask: (heads,) or (layers, heads), 0 silences a head. Not for models with pruned heads.
        inputs_embeds: float (batch, length, dim), in place of `input_ids`.
        output_attentions, output_hidden_states, return_dict: override the configuration.
        training: whether dropout is on.

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
    main_output: ClassVar[str] = "last_hidden_state"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "training")

    def forward(self, return_dict: bool | None = None, **inputs: Any) -> Any:
        """Computes the outputs; see the class."""
        outputs, _ = self.encode(**inputs)
        return self.finish(outputs, return_dict)


class TFXLMWithLMHeadModel(TFXLMPreTrainedModel):
    """XLM with a language modeling head: the word embeddings again, with a bias of its own.

    Args:
        config: `XLMConfig`.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel`, and by keyword:
        labels: int (batch, length), or (batch, P) with chosen positions; -100 is ignored. They are not shifted.
        masked_positions: int (batch, P), the only positions whose logits are computed.
        logits_to_keep: an int n for the last n positions, or int (P,) positions.

    Returns:
        `TFXLMWithLMHeadModelOutput`, or its tuple.

    Raises:
        InputError: as `TFXLMModel`, and when chosen positions are past the end.
        ConfigError: for an adaptive softmax (`asm=True`), which is not supported yet, and for an output layer that does
            not share the word embeddings (`tie_word_embeddings=False`).
    """

    architecture: ClassVar[str] = "XLMWithLMHeadModel"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("labels", "masked_positions", "logits_to_keep")

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the backbone and the head."""
        if config.asm:
            raise ConfigError("An adaptive softmax head (asm=True) is not supported yet. Use a config with asm=False.")
        if not config.tie_word_embeddings:
            raise ConfigError(
                "tie_word_embeddings=False asks for an output layer with a kernel of its own, which XLM does not have. "
                "Use a config with tie_word_embeddings=True."
            )
        super().make_layers(config)
        self.pred_layer = TiedProjection(config.vocab_size, name="pred_layer", dtype=self.dtype_policy)

    def forward(
        self,
        labels: Any = None,
        masked_positions: Any = None,
        logits_to_keep: Any = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """Computes the outputs; see the class."""
        outputs, _ = self.encode(**inputs)
        hidden_states = select_positions(outputs["last_hidden_state"], masked_positions, logits_to_keep)
        logits = self.pred_layer(hidden_states, self.transformer.embeddings.tables["word"].embeddings)
        loss = None if labels is None else self.own_loss(labels, logits)
        return self.finish(_with_head(TFXLMWithLMHeadModelOutput, loss, logits, outputs), return_dict)

    def own_loss(self, labels: Any, logits: Any, sample_weight: Any = None) -> Any:
        """Returns the mean cross-entropy over labels that are not -100."""
        return language_modeling_loss(labels, logits, sample_weight)


class TFXLMForSequenceClassification(TFXLMPreTrainedModel):
    """XLM with a classification or regression head on one vector per sequence.

    The vector is that of the first real position (`summary_type="first"`): position 0, or where attention_mask or left
    padding leave it out, the first that is not.

    When the configuration names no `problem_type`, the first labels that reach the model's own loss decide, and the
    model's `config` keeps the answer: later labels, saved checkpoints and exports follow it, as in the reference.

    Args:
        config: `XLMConfig`; `num_labels`, `problem_type` and the `summary_*` fields describe the head.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel` up to `return_dict`, then:
        labels: (batch,) ids; (batch, num_labels) of 0 and 1 for several labels at once; (batch,) or
            (batch, num_labels) numbers for regression (see `PreTrainedConfig.problem_type`).

    Returns:
        `TFSequenceClassifierOutput`, or its tuple.

    Raises:
        InputError: as `TFXLMModel`, and when dtype, shape or values of the labels do not fit the problem.
    """

    architecture: ClassVar[str] = "XLMForSequenceClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", "training")

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the backbone and the head."""
        super().make_layers(config)
        projection = config.num_labels if config.summary_proj_to_labels else config.emb_dim
        self.sequence_summary = SequenceSummary(
            config.emb_dim,
            kind=config.summary_type,
            projection_dim=projection if config.summary_use_proj else None,
            activation=activation_named(config.summary_activation),
            first_dropout=config.summary_first_dropout,
            last_dropout=config.summary_last_dropout,
            over_padding=config.summary_over_padding,
            kernel_initializer=keras.initializers.RandomNormal(stddev=config.init_std),
            name="sequence_summary",
            dtype=self.dtype_policy,
        )

    def forward(
        self, labels: Any = None, return_dict: bool | None = None, training: bool | None = None, **inputs: Any
    ) -> Any:
        """Computes the outputs; see the class."""
        outputs, mask = self.encode(training=training, **inputs)
        logits = self.sequence_summary(outputs["last_hidden_state"], mask, training=training)
        loss = None if labels is None else self.own_loss(labels, logits)
        return self.finish(_with_head(TFSequenceClassifierOutput, loss, logits, outputs), return_dict)

    def own_loss(self, labels: Any, logits: Any, sample_weight: Any = None) -> Any:
        """Returns the mean loss of the problem that configuration and labels describe; see the class."""
        problem = problem_of(labels, self.config.num_labels, self.config.problem_type)
        loss = classification_loss(labels, logits, sample_weight, problem_type=problem)
        if self.config.problem_type is None:
            self.config = self.config.replace(problem_type=problem)
        return loss


def _with_head(kind: type[ModelOutput], loss: Any, logits: Any, outputs: TFBaseModelOutput) -> ModelOutput:
    return kind(loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions)
