"""What the classes of a task share, whatever the family: labels, loss, and the way from hidden states to outputs.

A family's class adds the layers of its head, and says in `answer` how they are applied.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from keras import ops

from tfxlm.errors import ConfigError, InputError
from tfxlm.heads.classification import classification_loss, problem_of
from tfxlm.heads.labels import fits
from tfxlm.heads.language_modeling import chosen_positions
from tfxlm.heads.losses import cross_entropy, mean_loss, token_labels
from tfxlm.heads.question_answering import impossible_loss, read_positions, span_loss, split_span_logits
from tfxlm.models.batches import Labels
from tfxlm.models.calls import words_of
from tfxlm.models.generating import Generating
from tfxlm.models.outputs import (
    ModelOutput,
    TFMultipleChoiceModelOutput,
    TFQuestionAnsweringModelOutput,
    TFSequenceClassifierOutput,
    TFTokenClassifierOutput,
)
from tfxlm.models.pretrained import TFPreTrainedModel


class TaskModel(TFPreTrainedModel):
    """A model with a head."""

    output_class: ClassVar[type[ModelOutput]]
    # Call arguments that are the head's, labels among them where it needs those.
    head_arguments: tuple[str, ...] = ()

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Applies the head.

        Args:
            hidden_states: (batch, length, dim).
            mask: (batch, length) boolean, True at real positions.
            training: whether dropout is on.
            **head: the head's own arguments that were given, labels included where the call needs them.

        Returns:
            The outputs of the class, but for those of the backbone and the loss.
        """
        raise NotImplementedError

    def of_labels(self, labels: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what labels ask of the body, as its arguments."""
        return {}

    def forward(self, return_dict: bool | None = None, training: bool | None = None, **arguments: Any) -> Any:
        """Computes the outputs; see the class."""
        labels = {name: arguments.pop(name) for name in self.labels.targets if name in arguments}
        given = arguments | labels
        head = {name: given[name] for name in self.head_arguments if name in given}
        body = {name: value for name, value in arguments.items() if name not in head}
        encoded, mask = self.encode(training=training, **body, **self.of_labels(labels, body))
        outputs = self.answer(encoded["last_hidden_state"], mask, training=training, **head)
        if all(name in labels for name in self.labels.required):
            outputs["loss"] = self.own_loss(self.learnable(labels, arguments), outputs)
        # The hidden states are what the head was made of, and some heads return less of the rest.
        outputs |= {name: encoded[name] for name in self.output_class.fields if name in encoded}
        return self.finish(self.output_class(outputs), return_dict)


class LanguageModeling(Generating, TaskModel):
    """Predicts the token at each position, or at chosen ones."""

    labels: Labels = Labels({"labels": "logits"}, rank=2)

    def forward(self, return_dict: bool | None = None, training: bool | None = None, **arguments: Any) -> Any:
        """Computes the outputs; see the class."""
        choice = {name: arguments.pop(name, None) for name in ("masked_positions", "logits_to_keep")}
        words = words_of(arguments)
        # Words that are missing or have no such axes are refused where all inputs are checked.
        if words is not None and len(words.shape) >= 2:
            batch, length = ops.shape(words)[:2]
            positions = chosen_positions(batch, length, **choice)
            if positions is not None:
                arguments["positions_to_keep"] = positions
        return super().forward(return_dict=return_dict, training=training, **arguments)

    def check_tied(self, config: Any) -> None:
        """Refuses a configuration whose output layer does not share the word embeddings.

        Raises:
            ConfigError: when it does not.
        """
        if not config.tie_word_embeddings:
            raise ConfigError(
                "tie_word_embeddings=False asks for an output layer with a kernel of its own, which "
                f"{type(self).__name__} does not have. Use a config with tie_word_embeddings=True."
            )

    def token_logits(self, hidden_states: Any) -> Any:
        """(batch, P, dim) -> (batch, P, vocab_size)."""
        raise NotImplementedError

    def label_log_probs(self, hidden_states: Any, labels: Any) -> Any:
        """(batch, P, dim), int32 (batch, P) -> float32 (batch, P), for heads that need no logits for a loss."""
        raise NotImplementedError

    def answer(
        self, hidden_states: Any, mask: Any, training: bool | None = None, labels: Any = None, **head: Any
    ) -> dict[str, Any]:
        """Computes the logits; see `TaskModel`."""
        outputs = {"logits": self.token_logits(hidden_states)}
        if labels is not None:
            ids, _ = token_labels(labels, outputs["logits"], "vocab_size")
            outputs["label_log_probs"] = self.label_log_probs(hidden_states, ids)
        return outputs

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the mean cross-entropy over labels that are not -100."""
        log_probs = outputs.get("label_log_probs")
        if log_probs is None:
            return cross_entropy(labels["labels"], outputs["logits"], "vocab_size", sample_weight)
        _, valid = token_labels(labels["labels"], outputs["logits"], "vocab_size")
        return mean_loss(-log_probs, sample_weight, valid)


class SequenceClassification(TaskModel):
    """Labels or numbers for a sequence."""

    output_class: ClassVar[type[ModelOutput]] = TFSequenceClassifierOutput

    def countable(self, name: str, labels: Any, output: Any) -> tuple[Any, Any]:
        """All numbers count, -100 too, but for ids; see `OwnLossModel`."""
        if self.config.num_labels == 1 and self.config.problem_type != "single_label_classification":
            return labels, None
        return super().countable(name, labels, output)

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the mean loss of the problem that configuration and labels describe; see the class."""
        problem = problem_of(labels["labels"], self.config.num_labels, self.config.problem_type)
        loss = classification_loss(labels["labels"], outputs["logits"], sample_weight, problem_type=problem)
        if self.config.problem_type is None:
            self.config = self.config.replace(problem_type=problem)
        return loss


class TokenClassification(TaskModel):
    """A label for each token."""

    labels: Labels = Labels({"labels": "logits"}, rank=2)
    output_class: ClassVar[type[ModelOutput]] = TFTokenClassifierOutput

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the mean cross-entropy over labels that are not -100."""
        return cross_entropy(labels["labels"], outputs["logits"], "num_labels", sample_weight)


# The axes after (batch, choices) of each input of a model that chooses.
CHOICE_INPUTS = {
    **dict.fromkeys(("input_ids", "attention_mask", "langs", "token_type_ids", "position_ids"), 1),
    "inputs_embeds": 2,
    "lengths": 0,
}


class MultipleChoice(TaskModel):
    """One of several texts. The body sees (batch * choices, length)."""

    output_class: ClassVar[type[ModelOutput]] = TFMultipleChoiceModelOutput
    text_axes: ClassVar[tuple[str, ...]] = ("batch", "choices", "length")
    # Not the caller's: `forward` reads it from the words.
    head_arguments: tuple[str, ...] = ("num_choices",)

    def forward(self, return_dict: bool | None = None, training: bool | None = None, **arguments: Any) -> Any:
        """Computes the outputs; see the class."""
        words = arguments.get("input_ids", arguments.get("inputs_embeds"))
        if words is not None:
            arguments = self._flat(arguments, words)
        return super().forward(return_dict, training, **arguments)

    def _flat(self, arguments: dict[str, Any], words: Any) -> dict[str, Any]:
        rank, axes = 3 if "input_ids" in arguments else 4, ("batch", "choices", "length", "dim")
        if len(words.shape) != rank:
            name = "input_ids" if rank == 3 else "inputs_embeds"
            raise InputError(f"{name} must have shape ({', '.join(axes[:rank])}), got {tuple(words.shape)}.")
        flat = dict(arguments)
        for name, more in CHOICE_INPUTS.items():
            if name not in arguments:
                continue
            value = arguments[name]
            given = tuple(value.shape)
            if name == "lengths" and len(given) != 2:
                warnings.warn(
                    "lengths must have shape (batch, choices) here, and is ignored otherwise, as transformers does. "
                    "Give attention_mask instead.",
                    stacklevel=2,
                )
                del flat[name]
                continue
            if name in ("position_ids", "token_type_ids") and len(given) == 3 and 1 in given[:2]:
                # The same for every row or choice, as scripts for `transformers` give them.
                sources = (*(words if size == 1 else value for size in given[:2]), value)
                value = ops.broadcast_to(value, [ops.shape(source)[axis] for axis, source in enumerate(sources)])
            expected = tuple(words.shape[: 2 + more])
            if len(given) != 2 + more or not fits(tuple(value.shape[: len(expected)]), expected):
                raise InputError(
                    f"{name} must have shape ({', '.join(axes[: 2 + more])}), here {expected}, as the words have, got "
                    f"{given}."
                )
            flat[name] = ops.reshape(value, (-1, *ops.shape(value)[2:]))
        return flat | {"num_choices": ops.shape(words)[1]}

    def choice_scores(self, hidden_states: Any, mask: Any, training: bool | None = None) -> Any:
        """Scores texts: (texts, length, dim) and (texts, length) -> (texts, 1)."""
        raise NotImplementedError

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Computes the logits; see `TaskModel`."""
        scores = self.choice_scores(hidden_states, mask, training=training)
        return {"logits": ops.reshape(scores, (-1, head["num_choices"]))}

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the mean cross-entropy of the choices over labels that are not -100."""
        return cross_entropy(ops.reshape(labels["labels"], (-1,)), outputs["logits"], "choices", sample_weight)


SPAN_TARGETS = {"start_positions": "start_logits", "end_positions": "end_logits"}


class _Spans(TaskModel):
    def countable(self, name: str, labels: Any, output: Any) -> tuple[Any, Any]:
        """Positions past the end do not count, and of what is no position all does; see `OwnLossModel`."""
        if name not in SPAN_TARGETS:
            return labels, None
        return read_positions(labels, ops.shape(output)[1], name)


class SpanQuestionAnswering(_Spans):
    """Scores of the first and the last token of an answer, which a family's dense layer `qa_outputs` makes."""

    labels: Labels = Labels(SPAN_TARGETS)
    output_class: ClassVar[type[ModelOutput]] = TFQuestionAnsweringModelOutput

    def make_layers(self, config: Any) -> None:
        """Makes the body; the head has two scores."""
        if config.num_labels != 2:
            raise ConfigError(
                f"{type(self).__name__} scores starts and ends, so num_labels must be 2; got {config.num_labels}."
            )
        super().make_layers(config)

    def answer(self, hidden_states: Any, mask: Any, training: bool | None = None, **head: Any) -> dict[str, Any]:
        """Computes the logits; see `TaskModel`."""
        return split_span_logits(self.qa_outputs(hidden_states))

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the mean of the cross-entropies of start and end, over positions within the sequence."""
        return span_loss(labels["start_positions"], labels["end_positions"], outputs, sample_weight)


class BeamQuestionAnswering(_Spans):
    """The best answers, and whether there is one."""

    labels: Labels = Labels(
        {**SPAN_TARGETS, "is_impossible": "answer_class_logits"},
        optional={"is_impossible": "cls_index"},
        needed_by_call=True,
    )
    head_arguments: tuple[str, ...] = ("cls_index", "p_mask", *labels.targets)

    def own_loss(self, labels: Mapping[str, Any], outputs: Mapping[str, Any], sample_weight: Any = None) -> Any:
        """Returns the span loss, plus half of the loss of `is_impossible` where `cls_index` is given too."""
        loss = span_loss(labels["start_positions"], labels["end_positions"], outputs, sample_weight)
        logits = outputs.get("answer_class_logits")
        if logits is not None and "is_impossible" in labels:
            weight = (sample_weight or {}).get("is_impossible")
            loss = loss + 0.5 * impossible_loss(labels["is_impossible"], logits, weight)
        return loss
