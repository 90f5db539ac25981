"""The classes that are compared, as data: what is particular to each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import tfxlm
from tests.parity.families import XLM, Config, Family, roberta_family

if TYPE_CHECKING:
    from tests.parity.reference import Case

Labels = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is particular to a class.

    Args:
        model: our class.
        family: what it has in common with others.
        labels: draws the arguments that give a loss, for ids (rows, length) and how many of each row are real; None
            where there is none.
        adapt: what has to change in a random configuration so that the reference can compute a loss.
        has_choices: whether inputs have an axis of choices after that of the batch.
        min_length: the shortest sequence that the reference takes.
        unreturned: what we return with a loss and the reference only computes: its module, by our name.
        up_to_ties: outputs that are compared by what they stand for, see `close_beam`.
        reference: the PyTorch class, where it is not called like the kind.
        mend: changes a PyTorch model that does not work as it is.
        options: arguments beside the configuration with which models are made, in turn from case to case.
        at_positions: outputs (batch, length) that are compared at real positions only.
        takes_encoder: whether a decoder of the class can be given what its cross-attention looks at.
    """

    model: Any
    family: Family
    labels: Callable[[Case, np.ndarray, np.ndarray], Labels] | None = None
    adapt: Callable[[Config], Config] = lambda config: {}
    has_choices: bool = False
    min_length: int = 1
    unreturned: Mapping[str, str] = dataclasses.field(default_factory=dict)
    up_to_ties: tuple[str, ...] = ()
    reference: str = ""
    mend: Callable[[Any], None] = lambda model: None
    options: tuple[Config, ...] = ({},)
    at_positions: tuple[str, ...] = ()
    takes_encoder: bool = False


def word_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """Ids of some of the real positions, and -100 elsewhere."""
    keep = (np.arange(ids.shape[1]) < lengths[:, None]) & (case.rng.random(ids.shape) < 0.7)
    keep[0, 0] = True
    return {"labels": np.where(keep, case.grid(ids, case.config.vocab_size), -100)}


def word_labels_anywhere(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """Ids of some positions, and -100 elsewhere; the reference does not look whether they are padding."""
    labels = np.where(case.rng.random(ids.shape) < 0.7, case.grid(ids, case.config.vocab_size), -100)
    # There is no first one in a loss of the next words.
    labels[0, 1] = 0
    return {"labels": labels}


def sequence_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """A class for each sequence, or a number where there is one class only."""
    if case.config.num_labels == 1:
        return {"labels": case.rng.normal(size=len(ids)).astype(np.float32)}
    return {"labels": case.rng.integers(0, case.config.num_labels, len(ids))}


def choice_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """The right one of the choices."""
    return {"labels": case.rng.integers(0, case.choices, len(ids) // case.choices)}


def token_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """A class for each token, -100 for some; the reference does not look whether they are padding."""
    labels = np.where(case.rng.random(ids.shape) < 0.7, case.grid(ids, case.config.num_labels), -100)
    labels[0, 0] = 0
    return {"labels": labels}


def span_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """First and last tokens; some are past the end of the sequence, as after truncation."""
    starts, ends = case.rng.integers(0, ids.shape[1] + 2, (2, len(ids)))
    starts[0], ends[0] = 0, ids.shape[1] - 1
    return {"start_positions": starts, "end_positions": ends}


def beam_labels(case: Case, ids: np.ndarray, lengths: np.ndarray) -> Labels:
    """First and last tokens, whether there is an answer, where that is read from, and where answers may not be."""
    rows = np.arange(len(ids))
    starts, ends, places = case.rng.integers(0, ids.shape[1], (3, len(ids)))
    p_mask = (case.rng.random(ids.shape) < 0.3).astype(np.float32)
    # An answer that may not be costs 1e30, beside which no other number counts.
    p_mask[rows, starts] = p_mask[rows, ends] = 0
    return {
        "start_positions": starts,
        "end_positions": ends,
        "is_impossible": case.rng.integers(0, 2, len(ids)).astype(np.float32),
        "cls_index": places,
        "p_mask": p_mask,
    }


def as_wide_as_labels(config: Config) -> Config:
    """The reference's losses need a summary with `num_labels` numbers, however it comes to be."""
    projected = config["summary_use_proj"] and config["summary_proj_to_labels"]
    return {} if projected else {"num_labels": config["hidden_size"]}


def with_clusters(config: Config) -> Config:
    """An adaptive softmax of three clusters, or of two."""
    words = config["vocab_size"]
    return {"asm": True, "asm_cutoffs": [words // 3, words // 2][: 1 + words % 2], "asm_div_value": 2.0}


def flatten_adaptive_softmax(model: Any) -> None:
    """Gives PyTorch's adaptive softmax the vectors and labels as it takes them; the class gives it its own shapes.

    The class fails there; PyTorch's layer has no label that does not count.
    """
    softmax = model.pred_layer.proj
    # Only so that there is a module to see them in.
    model.pred_layer.label_log_probs = torch.nn.Identity()

    def forward(hidden_states: torch.Tensor, labels: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        flat = hidden_states.flatten(0, 1)
        outputs = (softmax.log_prob(flat).unflatten(0, hidden_states.shape[:2]),)
        if labels is None:
            return outputs
        model.pred_layer.label_log_probs(outputs[0].gather(2, labels.clamp(min=0)[..., None])[..., 0])
        counts = labels.flatten() != -100
        return (softmax(flat[counts], labels.flatten()[counts]).loss, *outputs)

    model.pred_layer.forward = forward


def without_cross_attention(config: Config) -> Config:
    """The class passes no encoder on, without which the reference's cross-attention has no weights to return."""
    return {"add_cross_attention": False}


def with_two_labels(config: Config) -> Config:
    """Starts and ends."""
    return {"num_labels": 2}


KINDS = {
    "XLMModel": Kind(tfxlm.TFXLMModel, XLM),
    "XLMWithLMHeadModel": Kind(tfxlm.TFXLMWithLMHeadModel, XLM, word_labels),
    "XLMWithAdaptiveSoftmax": Kind(
        tfxlm.TFXLMWithLMHeadModel,
        XLM,
        word_labels,
        adapt=with_clusters,
        reference="XLMWithLMHeadModel",
        mend=flatten_adaptive_softmax,
        unreturned={"label_log_probs": "pred_layer.label_log_probs"},
    ),
    "XLMForSequenceClassification": Kind(
        tfxlm.TFXLMForSequenceClassification, XLM, sequence_labels, adapt=as_wide_as_labels
    ),
    "XLMForMultipleChoice": Kind(
        tfxlm.TFXLMForMultipleChoice, XLM, choice_labels, adapt=as_wide_as_labels, has_choices=True
    ),
    "XLMForTokenClassification": Kind(tfxlm.TFXLMForTokenClassification, XLM, token_labels),
    "XLMForQuestionAnsweringSimple": Kind(
        tfxlm.TFXLMForQuestionAnsweringSimple, XLM, span_labels, adapt=with_two_labels
    ),
    "XLMForQuestionAnswering": Kind(
        tfxlm.TFXLMForQuestionAnswering,
        XLM,
        beam_labels,
        min_length=5,
        unreturned={
            "start_logits": "qa_outputs.start_logits",
            "end_logits": "qa_outputs.end_logits",
            "answer_class_logits": "qa_outputs.answer_class",
        },
        up_to_ties=("start_top_index", "end_top_log_probs", "end_top_index"),
    ),
}

# What is particular to the classes that XLM-RoBERTa and XLM-RoBERTa-XL have, by how their names go on.
ROBERTA: dict[str, dict[str, Any]] = {
    "Model": {"takes_encoder": True, "options": ({"add_pooling_layer": True}, {"add_pooling_layer": False})},
    "ForCausalLM": {"labels": word_labels_anywhere, "takes_encoder": True},
    "ForMaskedLM": {"labels": word_labels_anywhere, "takes_encoder": True},
    "ForSequenceClassification": {"labels": sequence_labels, "adapt": without_cross_attention},
    "ForMultipleChoice": {"labels": choice_labels, "adapt": without_cross_attention, "has_choices": True},
    "ForTokenClassification": {"labels": token_labels, "adapt": without_cross_attention},
    "ForQuestionAnswering": {
        "labels": span_labels,
        "adapt": lambda config: with_two_labels(config) | without_cross_attention(config),
        "at_positions": ("start_logits", "end_logits"),
    },
}
for _stem in ("XLMRoberta", "XLMRobertaXL"):
    _family = roberta_family(_stem)
    for _rest, _particular in ROBERTA.items():
        KINDS[_stem + _rest] = Kind(getattr(tfxlm, f"TF{_stem}{_rest}"), _family, **_particular)


# Heads that XLM-RoBERTa and XLM-RoBERTa-XL share, with the turn of each family: the bodies, and the language models,
# are tried in every configuration.
TURNS = {
    stem + rest: turn
    for turn, stem in enumerate(("XLMRoberta", "XLMRobertaXL"))
    for rest, particular in ROBERTA.items()
    if "takes_encoder" not in particular
}


def named(*ends: str) -> list[str]:
    """Returns the classes of all families whose names end so."""
    return [name for name in KINDS if name.endswith(ends)]


# The classes without a head.
BODIES = [name for name, kind in KINDS.items() if name == kind.family.body]
WITH_LOSS = [name for name, kind in KINDS.items() if kind.labels]
LANGUAGE_MODELS = ["XLMWithLMHeadModel", "XLMWithAdaptiveSoftmax", *named("ForCausalLM", "ForMaskedLM")]
