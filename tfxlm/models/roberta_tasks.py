"""The classes that XLM-RoBERTa and XLM-RoBERTa-XL have, but for what a family says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from keras import ops

from tfxlm.backend import to_int32
from tfxlm.errors import InputError
from tfxlm.heads.labels import IGNORED_LABEL, is_integer, token_places
from tfxlm.heads.token_transform import TokenTransform
from tfxlm.layers import Dropout, Projection, SequenceSummary, TiedProjection
from tfxlm.models.batches import Labels
from tfxlm.models.calls import flag, words_of
from tfxlm.models.outputs import (
    ModelOutput,
    TFBaseModelOutputWithPoolingAndCrossAttentions,
    TFCausalLMOutputWithCrossAttentions,
    TFMaskedLMOutput,
)
from tfxlm.models.roberta_backbone import RobertaModel, normal
from tfxlm.models.tasks import (
    SPAN_TARGETS,
    LanguageModeling,
    MultipleChoice,
    SequenceClassification,
    SpanQuestionAnswering,
    TaskModel,
    TokenClassification,
)

# Arguments, in the order of the classes of `transformers`.
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
ENCODER = ("encoder_hidden_states", "encoder_attention_mask")
CACHE = ("past_key_values", "use_cache")
SWITCHES = ("output_attentions", "output_hidden_states", "return_dict")


class _LearnsAtPadding(TaskModel, RobertaModel):
    """The reference computes hidden states of padding too, so labels there count as others do.

    Positions of padding are computed where a label needs them, and no others.
    """

    def of_labels(self, labels: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the positions that have labels; see `TaskModel`.

        Raises:
            InputError: when there is not one label for each token, of those that have one.
        """
        words = words_of(inputs)
        is_grid = words is not None and len(words.shape) >= 2
        if not is_grid or "positions_to_keep" in inputs or any(name not in labels for name in self.labels.required):
            return {}
        batch, length = ops.shape(words)[:2]
        if "labels" not in labels:
            # Each position of a text is one that an answer may start at.
            return {"needs": ops.ones((batch, length), "bool")}
        labels = {"labels": token_places(labels["labels"], batch, length)}
        places = self.learnable(labels, inputs)["labels"]
        # A compiled loss takes labels as they were given.
        return {"needs": ops.not_equal(places, IGNORED_LABEL) | ops.not_equal(labels["labels"], IGNORED_LABEL)}


class RobertaWithoutHead(RobertaModel):
    """The body alone, with or without a pooling layer."""

    has_head: ClassVar[bool] = False
    labels: Labels = Labels({"labels": "last_hidden_state"})
    layer_options: ClassVar[tuple[str, ...]] = ("add_pooling_layer",)
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, *CACHE, *SWITCHES, "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("lengths", "cache_position")

    @property
    def backbone_options(self) -> dict[str, Any]:
        """Further arguments of the backbone."""
        return {"add_pooling_layer": True, **self.options}

    def _options_of_layers(self, args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: flag(name, value) for name, value in super()._options_of_layers(args, options).items()}

    def forward(self, return_dict: bool | None = None, **inputs: Any) -> Any:
        """Computes the outputs; see the class."""
        encoded, mask = self.encode(**inputs)
        if self.roberta.pooler is not None:
            encoded["pooler_output"] = self.roberta.pooler(encoded["last_hidden_state"], mask)
        return self.finish(TFBaseModelOutputWithPoolingAndCrossAttentions(encoded), return_dict)


class RobertaLanguageModeling(_LearnsAtPadding, LanguageModeling):
    """The output layer is the word embeddings again, after a dense layer and a normalisation."""

    lm_head_name: ClassVar[str | None] = "lm_head"
    labels: Labels = Labels({"labels": "logits"}, rank=2, needed_by_call=True)

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        self.check_tied(config)
        super().make_layers(config)
        self.lm_transform = TokenTransform(
            config.hidden_size,
            norm_epsilon=config.layer_norm_eps,
            kernel_initializer=normal(config),
            name="lm_transform",
            dtype=self.dtype_policy,
        )
        self.lm_head = TiedProjection(config.vocab_size, name="lm_head", dtype=self.dtype_policy)

    def token_logits(self, hidden_states: Any) -> Any:
        """(batch, P, dim) -> (batch, P, vocab_size)."""
        return self.lm_head(self.lm_transform(hidden_states), self.get_input_embeddings().embeddings)


class RobertaForCausalLM(RobertaLanguageModeling):
    """Predicts the next token."""

    output_class: ClassVar[type[ModelOutput]] = TFCausalLMOutputWithCrossAttentions
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *ENCODER, *CACHE, *SWITCHES, "labels", "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("logits_to_keep", "lengths", "cache_position")

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        if not config.is_causal:
            warnings.warn(
                f"This {type(self).__name__} is not causal, so each token sees those that it should predict. Load it "
                "with is_decoder=True.",
                stacklevel=2,
            )

    def of_labels(self, labels: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the positions that have labels; see `TaskModel`.

        Raises:
            InputError: when only some positions' logits are computed: labels are those of all.
        """
        if labels and "positions_to_keep" in inputs:
            raise InputError("labels are for the logits of all positions. Leave labels or logits_to_keep out.")
        return super().of_labels(labels, inputs)

    def learnable(self, labels: Mapping[str, Any], inputs: Any) -> Mapping[str, Any]:
        """Returns the label of each token where it is predicted: at the position before it; see `OwnLossModel`."""
        ids = ops.convert_to_tensor(labels["labels"])
        # Types without a sign have no -100.
        return {"labels": _at_position_before(to_int32(ids) if is_integer(ids) else ids, IGNORED_LABEL)}

    def learnable_weights(self, weights: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the weight of each token where it is predicted; a row's one weight is that of all its tokens."""
        return {
            name: weight if len(weight.shape) < 2 or weight.shape[1] == 1 else _at_position_before(weight, 0)
            for name, weight in weights.items()
        }


def _at_position_before(values: Any, last: int) -> Any:
    """(batch, length) -> the same, each value one position further to the left, and `last` at the end."""
    return ops.pad(ops.convert_to_tensor(values)[:, 1:], ((0, 0), (0, 1)), constant_values=last)


class RobertaForMaskedLM(RobertaLanguageModeling):
    """Predicts tokens that are masked."""

    output_class: ClassVar[type[ModelOutput]] = TFMaskedLMOutput
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *SWITCHES, "labels", "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("masked_positions", "logits_to_keep", *ENCODER, "lengths")


class _WithClassifier(RobertaModel):
    """A dense layer `classifier`, with dropout before it."""

    def add_classifier(self, units: int, dropout: float) -> None:
        """Makes the two layers."""
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.classifier = projection(self, units, "classifier")

    def classify(self, x: Any, training: bool | None) -> Any:
        """Applies the two layers."""
        return self.classifier(self.dropout(x, training=training))


def projection(model: RobertaModel, units: int, name: str) -> Projection:
    """Makes a dense layer of a head from the hidden states' width to `units`."""
    config = model.config
    return Projection(config.hidden_size, units, kernel_initializer=normal(config), name=name, dtype=model.dtype_policy)


class RobertaForSequenceClassification(SequenceClassification, RobertaModel):
    """A label or numbers for a text."""

    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *SWITCHES, "labels", "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("lengths",)

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        rate = config.classifier_dropout_rate
        self.sequence_summary = SequenceSummary(
            config.hidden_size,
            projection_dim=config.hidden_size,
            activation="tanh",
            first_dropout=rate,
            last_dropout=rate,
            kernel_initializer=normal(config),
            name="sequence_summary",
            dtype=self.dtype_policy,
        )
        self.out_proj = projection(self, config.num_labels, "out_proj")

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head; see `TaskModel`."""
        return {"logits": self.out_proj(self.sequence_summary(hidden_states, mask, training=training))}


class RobertaForMultipleChoice(MultipleChoice, _WithClassifier):
    """One of several texts."""

    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *SWITCHES, "labels", "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("lengths",)

    @property
    def backbone_options(self) -> dict[str, Any]:
        """Further arguments of the backbone."""
        return {"add_pooling_layer": True}

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.add_classifier(1, config.hidden_dropout_prob)

    def choice_scores(self, hidden_states: Any, mask: Any, training: bool | None = None) -> Any:
        """Scores texts; see `MultipleChoice`."""
        return self.classify(self.roberta.pooler(hidden_states, mask), training)


class RobertaForTokenClassification(_LearnsAtPadding, TokenClassification, _WithClassifier):
    """A label for each token."""

    labels: Labels = Labels({"labels": "logits"}, rank=2, needed_by_call=True)
    positional_arguments: ClassVar[tuple[str, ...]] = (*INPUTS, *SWITCHES, "labels", "training")
    keyword_arguments: ClassVar[tuple[str, ...]] = ("lengths",)

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.add_classifier(config.num_labels, config.classifier_dropout_rate)

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head; see `TaskModel`."""
        return {"logits": self.classify(hidden_states, training)}


class RobertaForQuestionAnswering(_LearnsAtPadding, SpanQuestionAnswering):
    """Scores of the first and the last token of an answer."""

    labels: Labels = Labels(SPAN_TARGETS, needed_by_call=True)
    positional_arguments: ClassVar[tuple[str, ...]] = (
        *INPUTS,
        *SWITCHES,
        "start_positions",
        "end_positions",
        "training",
    )
    keyword_arguments: ClassVar[tuple[str, ...]] = ("lengths",)

    def make_layers(self, config: Any) -> None:
        """Makes the body and the head."""
        super().make_layers(config)
        self.qa_outputs = projection(self, 2, "qa_outputs")
