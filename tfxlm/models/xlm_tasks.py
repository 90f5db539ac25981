"""XLM's classes for tasks: each a head on the body."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from tfxlm.configs import XLMConfig
from tfxlm.heads.question_answering import BeamAnswers
from tfxlm.layers import Dropout, Projection, SequenceSummary, activation_named
from tfxlm.models.outputs import ModelOutput, TFXLMForQuestionAnsweringOutput
from tfxlm.models.tasks import (
    BeamQuestionAnswering,
    MultipleChoice,
    SequenceClassification,
    SpanQuestionAnswering,
    TokenClassification,
)
from tfxlm.models.xlm import INPUTS, TFXLMPreTrainedModel


def projection(
    config: XLMConfig, units: int, name: str, dtype: keras.DTypePolicy, dim: int | None = None
) -> Projection:
    """Makes a dense layer of a head, from `dim` (by default the hidden states' width) to `units`."""
    initializer = keras.initializers.RandomNormal(stddev=config.init_std)
    return Projection(dim or config.emb_dim, units, kernel_initializer=initializer, name=name, dtype=dtype)


class _WithSummary(TFXLMPreTrainedModel):
    """A head that begins with one vector for each sequence."""

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body, and the layer that takes the vector as the `summary_*` fields describe it."""
        super().make_layers(config)
        width = config.num_labels if config.summary_proj_to_labels else config.emb_dim
        self.sequence_summary = SequenceSummary(
            config.emb_dim,
            kind=config.summary_type,
            projection_dim=width if config.summary_use_proj else None,
            activation=activation_named(config.summary_activation),
            first_dropout=config.summary_first_dropout,
            last_dropout=config.summary_last_dropout,
            over_padding=config.summary_over_padding,
            kernel_initializer=keras.initializers.RandomNormal(stddev=config.init_std),
            name="sequence_summary",
            dtype=self.dtype_policy,
        )


class TFXLMForSequenceClassification(SequenceClassification, _WithSummary):
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
        labels: int (batch,) ids; (batch, num_labels) of 0 and 1 for several labels at once; float (batch,) or
            (batch, num_labels) for regression (see `PreTrainedConfig.problem_type`).

    Returns:
        `TFSequenceClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when dtype, shape or values of the labels do not
            fit the problem.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForSequenceClassification, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1, num_labels=3)
        >>> model = TFXLMForSequenceClassification(config)
        >>> outputs = model(np.array([[0, 14, 15, 1]]), labels=np.array([2]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMForSequenceClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", "training")

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head; see `TaskModel`."""
        return {"logits": self.sequence_summary(hidden_states, mask, training=training)}


class TFXLMForMultipleChoice(MultipleChoice, _WithSummary):
    """XLM that chooses one of several texts, such as the endings of a story.

    Args:
        config: `XLMConfig`; `num_labels` is the width of the summary, as in the reference, not the number of
            choices.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel` up to `return_dict`, each with the axis of choices after that of the batch (`input_ids`
        int (batch, choices, length), `lengths` int (batch, choices)), then:
        labels: int (batch,), the right choice; -100 is ignored.

    Returns:
        `TFMultipleChoiceModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForMultipleChoice, XLMConfig
        >>> model = TFXLMForMultipleChoice(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1))
        >>> model(np.array([[[0, 14, 15, 1], [0, 14, 16, 1]]])).logits.shape
        TensorShape([1, 2])
    """

    architecture: ClassVar[str] = "XLMForMultipleChoice"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", "training")

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.logits_proj = projection(config, 1, "logits_proj", self.dtype_policy, dim=self.sequence_summary.output_dim)

    def choice_scores(self, hidden_states: Any, mask: Any, training: bool | None = None) -> Any:
        """Scores texts; see `MultipleChoice`."""
        return self.logits_proj(self.sequence_summary(hidden_states, mask, training=training))


class TFXLMForTokenClassification(TokenClassification, TFXLMPreTrainedModel):
    """XLM with a label for each token, such as names in a text.

    Args:
        config: `XLMConfig`; `num_labels` says how many labels there are.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel` up to `return_dict`, then:
        labels: int (batch, length); -100 is ignored.

    Returns:
        `TFTokenClassifierOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when labels do not fit.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForTokenClassification, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1, num_labels=3)
        >>> model = TFXLMForTokenClassification(config)
        >>> outputs = model(np.array([[0, 14, 15, 1]]), labels=np.array([[-100, 2, 0, -100]]))
        >>> outputs.logits.shape, outputs.loss.shape
        (TensorShape([1, 4, 3]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMForTokenClassification"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "labels", "training")

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.dropout = Dropout(config.dropout, dtype=self.dtype_policy)
        self.classifier = projection(config, config.num_labels, "classifier", self.dtype_policy)

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head; see `TaskModel`."""
        return {"logits": self.classifier(self.dropout(hidden_states, training=training))}


class TFXLMForQuestionAnsweringSimple(SpanQuestionAnswering, TFXLMPreTrainedModel):
    """XLM that scores each token as the first and as the last of an answer.

    Args:
        config: `XLMConfig` with `num_labels` 2, its default.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel` up to `return_dict`, then:
        start_positions, end_positions: int (batch,), of the answer's first and last token. Positions past the end, as
            of answers that truncation cut off, and -100 are ignored.

    Returns:
        `TFQuestionAnsweringModelOutput`, or its tuple.

    Raises:
        InputError: when inputs do not fit the model or each other, and when positions are no integers.
        ConfigError: when `num_labels` is not 2.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForQuestionAnsweringSimple, XLMConfig
        >>> model = TFXLMForQuestionAnsweringSimple(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1))
        >>> outputs = model(np.array([[0, 14, 15, 1]]), start_positions=np.array([1]), end_positions=np.array([2]))
        >>> outputs.start_logits.shape, outputs.end_logits.shape, outputs.loss.shape
        (TensorShape([1, 4]), TensorShape([1, 4]), TensorShape([]))
    """

    architecture: ClassVar[str] = "XLMForQuestionAnsweringSimple"
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, "start_positions", "end_positions", "training")

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.qa_outputs = projection(config, 2, "qa_outputs", self.dtype_policy)


class TFXLMForQuestionAnswering(BeamQuestionAnswering, TFXLMPreTrainedModel):
    """XLM that searches answers with a beam, and tells whether there is one.

    Padding is no answer, and a missing `cls_index` is the last real position, so that answers do not depend on padding;
    with `summary_over_padding=True` both are as in the reference. Losses are the reference's in any case.

    Args:
        config: `XLMConfig`; `start_n_top` and `end_n_top` are the beam's sizes.
        dtype: Keras dtype or policy.

    Call arguments:
        Those of `TFXLMModel` up to `return_dict`, then:
        start_positions, end_positions: int (batch,), as in `TFXLMForQuestionAnsweringSimple`.
        is_impossible: int or float (batch,), 1 for a question without an answer. It counts only together with
            `cls_index`.
        cls_index: int (batch,), where the classification token stands.
        p_mask: int, float or bool (batch, length), 1 where no answer may be (question, special tokens).

    Returns:
        `TFXLMForQuestionAnsweringOutput`, or its tuple: the best answers, or with both positions the loss.

    Raises:
        InputError: when inputs do not fit the model or each other, and when positions are no integers, or
            `cls_index` is outside of the sequence.

    Example:
        >>> import numpy as np
        >>> from tfxlm import TFXLMForQuestionAnswering, XLMConfig
        >>> config = XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1, start_n_top=2)
        >>> model = TFXLMForQuestionAnswering(config)
        >>> outputs = model(np.array([[0, 14, 15, 1]]), p_mask=np.array([[1, 0, 0, 1]]))
        >>> outputs.start_top_index.shape, outputs.end_top_index.shape
        (TensorShape([1, 2]), TensorShape([1, 10]))
    """

    architecture: ClassVar[str] = "XLMForQuestionAnswering"
    output_class: ClassVar[type[ModelOutput]] = TFXLMForQuestionAnsweringOutput
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *(*INPUTS[:9], "start_positions", "end_positions", "is_impossible", "cls_index", "p_mask"),
        *(*INPUTS[9:], "training"),
    )

    def make_layers(self, config: XLMConfig) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.qa_outputs = BeamAnswers(
            config.emb_dim,
            start_n_top=config.start_n_top,
            end_n_top=config.end_n_top,
            norm_epsilon=config.layer_norm_eps,
            over_padding=config.summary_over_padding,
            kernel_initializer=keras.initializers.RandomNormal(stddev=config.init_std),
            name="qa_outputs",
            dtype=self.dtype_policy,
        )

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head; see `TaskModel`."""
        return self.qa_outputs(hidden_states, mask, **head)
