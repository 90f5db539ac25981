"""Small answers, by task: what the default signature takes, and what it makes of a model's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfxlm.errors import ExportError
from tfxlm.export.inputs import ONE_TEXT, SEVERAL_TEXTS, Tensors
from tfxlm.heads.classification import problem_of
from tfxlm.heads.decode import (
    MAX_ANSWER_LENGTH,
    TOP_K,
    beam_answers,
    choice_scores,
    classification_scores,
    first_embedding,
    mean_embedding,
    span_answers,
    token_labels,
    top_tokens,
    unit_length,
)
from tfxlm.layers import SequenceSummary
from tfxlm.models import TFPreTrainedModel
from tfxlm.models.tasks import (
    BeamQuestionAnswering,
    LanguageModeling,
    MultipleChoice,
    SequenceClassification,
    SpanQuestionAnswering,
    TokenClassification,
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an answer is made from.

    Args:
        model: whose answer it is.
        outputs: of the model.
        inputs: of the signature.
        mask: boolean, of the shape of the ids: which positions are real.
    """

    model: TFPreTrainedModel
    outputs: Mapping[str, tf.Tensor]
    inputs: Tensors
    mask: tf.Tensor

    def label_names(self, width: int) -> list[str]:
        """Returns the names of the labels that a head of `width` numbers chooses from."""
        config = self.model.config
        if width != config.num_labels:
            raise ExportError(
                f"The head of this {type(self.model).__name__} gives {width} numbers for a text, but id2label names "
                f"{config.num_labels} labels, so its answers have no names. Export a model whose configuration has "
                "summary_use_proj=True and summary_proj_to_labels=True."
            )
        return [str(config.id2label[index]) for index in range(width)]


# Makes small answers by name; its keyword arguments are the options that an export may set.
MakeAnswer = Callable[..., Tensors]


def _classification(asked: Asked) -> Tensors:
    config, logits = asked.model.config, asked.outputs["logits"]
    labels = asked.label_names(logits.shape[-1])
    scores = classification_scores(logits, config.problem_type)
    if problem_of(None, config.num_labels, config.problem_type) == "regression":
        return {"scores": scores}  # numbers, of which none is the best
    best = tf.argmax(scores, axis=-1)
    return {"label": tf.gather(labels, best), "score": tf.reduce_max(scores, axis=-1), "scores": scores}


def _token_labels(asked: Asked) -> Tensors:
    logits = asked.outputs["logits"]
    labels = asked.label_names(logits.shape[-1])
    ids, scores = token_labels(logits, asked.mask)
    # Padding has the id -1, and no label.
    return {"label": tf.gather(["", *labels], ids + 1), "score": scores}


def _choice(asked: Asked) -> Tensors:
    scores = choice_scores(asked.outputs["logits"], asked.inputs["num_choices"])
    best = tf.argmax(scores, axis=-1, output_type=tf.int32)
    return {"choice": best, "score": tf.reduce_max(scores, axis=-1), "scores": scores}


def _allowed(asked: Asked) -> tf.Tensor:
    return asked.mask & (asked.inputs["p_mask"] == 0)


def _answers(starts: tf.Tensor, ends: tf.Tensor, scores: tf.Tensor) -> Tensors:
    best = {"start": starts[:, 0], "end": ends[:, 0], "score": scores[:, 0]}
    return {**best, "starts": starts, "ends": ends, "scores": scores}


def _span(asked: Asked, *, top_k: int = TOP_K, max_answer_length: int = MAX_ANSWER_LENGTH) -> Tensors:
    start, end = asked.outputs["start_logits"], asked.outputs["end_logits"]
    return _answers(*span_answers(start, end, _allowed(asked), k=top_k, max_length=max_answer_length))


def _beam(asked: Asked, *, top_k: int = TOP_K, max_answer_length: int = MAX_ANSWER_LENGTH) -> Tensors:
    found = beam_answers(asked.outputs, _allowed(asked), k=top_k, max_length=max_answer_length)
    no_answer = tf.sigmoid(tf.cast(asked.outputs["cls_logits"], tf.float32))
    return {**_answers(*found), "no_answer": no_answer}


def _top_tokens(asked: Asked, *, top_k: int = TOP_K) -> Tensors:
    ids, scores = top_tokens(asked.outputs["logits"], asked.mask, k=top_k)
    return {"ids": ids, "scores": scores}


def _summary(asked: Asked) -> tf.Tensor:
    """What the model itself has for a text: of its pooling layer, or of the position that its heads look at."""
    if "pooler_output" in asked.outputs:
        return asked.outputs["pooler_output"]
    config, states = asked.model.config, asked.outputs["last_hidden_state"]
    kind = getattr(config, "summary_type", "first")
    return SequenceSummary(states.shape[-1], kind=kind)(states, asked.mask)


_POOLED: Mapping[str, Callable[[Asked], tf.Tensor]] = {
    "mean": lambda asked: mean_embedding(asked.outputs["last_hidden_state"], asked.mask),
    "first": lambda asked: first_embedding(asked.outputs["last_hidden_state"], asked.mask),
    "summary": _summary,
}


def _embedding(asked: Asked, *, pooling: str = "mean", normalize: bool = False) -> Tensors:
    embedding = tf.cast(_POOLED[pooling](asked), tf.float32)
    return {"embedding": unit_length(embedding) if normalize else embedding}


@dataclasses.dataclass(frozen=True)
class Answer:
    """How the models of a task are asked, and what they answer.

    Args:
        make: from outputs to small answers.
        text: the axes of a text.
        head_inputs: inputs that the head's call takes too.
        answer_inputs: inputs that only the small answers need.
    """

    make: MakeAnswer
    text: tuple[str, ...] = ONE_TEXT
    head_inputs: tuple[str, ...] = ()
    answer_inputs: tuple[str, ...] = ()


# By the base classes of `tfxlm.models.tasks`, which every family shares.
ANSWERS: Mapping[type, Answer] = {
    SequenceClassification: Answer(_classification),
    TokenClassification: Answer(_token_labels),
    MultipleChoice: Answer(_choice, text=SEVERAL_TEXTS, answer_inputs=("num_choices",)),
    SpanQuestionAnswering: Answer(_span, answer_inputs=("p_mask",)),
    BeamQuestionAnswering: Answer(_beam, head_inputs=("p_mask", "cls_index")),
    LanguageModeling: Answer(_top_tokens),
}
WITHOUT_HEAD = Answer(_embedding)


def answer_of(model: TFPreTrainedModel) -> Answer:
    """Returns how a model is asked, and what it answers.

    Raises:
        ExportError: when its class is of no task.
    """
    if not model.has_head:
        return WITHOUT_HEAD
    found = next((ANSWERS[kind] for kind in type(model).__mro__ if kind in ANSWERS), None)
    if found is None:
        known = ", ".join(kind.__name__ for kind in ANSWERS)
        raise ExportError(
            f"{type(model).__name__} has no serving signatures. There are some for models without a head, and for "
            f"those that derive from {known} (tfxlm.models.tasks)."
        )
    return found
