"""Small examples of every class to train on, each with its loss computed by numpy."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.models.battery import perturb, random_inputs
from tests.models.families import FAMILIES, NEEDS, ROBERTAS, SWEEP, XLM, XLM_ROBERTA, Family

Arrays = dict[str, np.ndarray]

LENGTHS = (6, 3, 4, 2, 6, 5, 1)
ROWS = len(LENGTHS)
IGNORED = -100


def cross_entropy(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The sum of weighted losses over the number of labels that are classes: others are ignored."""
    counts = (labels >= 0) & (labels < logits.shape[-1])
    logits = logits.astype(np.float64)
    each = np.log(np.exp(logits).sum(-1))
    each = each - np.take_along_axis(logits, np.where(counts, labels, 0)[..., None], -1)[..., 0]
    weight = np.ones(len(labels)) if weight is None else weight
    return float((each * counts * weight.reshape(len(labels), *[-1] * (labels.ndim - 1))).sum() / max(counts.sum(), 1))


def label_loss(outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
    return cross_entropy(outputs["logits"], labels["labels"], weight)


def next_token_loss(outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
    return cross_entropy(outputs["logits"][:, :-1], labels["labels"][:, 1:], weight)


def span_loss(outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
    ends = ("start", "end")
    return sum(cross_entropy(outputs[f"{end}_logits"], labels[f"{end}_positions"], weight) for end in ends) / 2


def beam_loss(outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
    logits, targets = outputs["answer_class_logits"].astype(np.float64), labels["is_impossible"]
    each = np.logaddexp(0, logits) - targets * logits
    return span_loss(outputs, labels, weight) + 0.5 * float((each * (1 if weight is None else weight)).mean())


def squared_error(outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
    each = np.square(outputs["last_hidden_state"].astype(np.float64) - labels["labels"]).mean(-1)
    return float((each * (1 if weight is None else weight[:, None])).mean())


@dataclasses.dataclass(frozen=True)
class Case:
    """A class with something to learn.

    Args:
        family: of the class.
        task: the class, by what follows the family's name in its name.
        labels: draws labels for inputs, by argument.
        loss: the class's loss of outputs (arrays by name), labels, and weights of rows.
        is_shifted: whether the class's own loss compares a label with the output of the position before it.
        choices: texts in a row; 0 for classes without that axis.
        loss_function: what to compile where the class has no loss of its own.
        more_inputs: draws inputs that only this class takes.
        options: what the class takes beside its configuration.
    """

    family: Family
    task: str
    labels: Callable[[np.random.Generator, Arrays], Arrays]
    loss: Callable[..., float] = label_loss
    is_shifted: bool = False
    choices: int = 0
    loss_function: str | None = None
    more_inputs: Callable[[Arrays], Arrays] = lambda inputs: {}
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.cls.__name__

    @property
    def cls(self) -> Any:
        """The class."""
        return self.family.cls(self.task)

    @property
    def is_eager(self) -> bool:
        """How habits run it: one class in graphs, others eagerly but in a sweep, as tracing costs seconds."""
        return not SWEEP and str(self) != "TFXLMWithLMHeadModel"

    @property
    def targets(self) -> Mapping[str, str]:
        """Outputs by label."""
        return self.cls.labels.targets

    def inputs(self, rows: int = ROWS) -> Arrays:
        lengths = (LENGTHS * 4)[: rows * (self.choices or 1)]
        inputs = random_inputs(self.family.small, lengths=lengths, choices=self.choices)
        return inputs | self.more_inputs(inputs)

    def data(self, rows: int = ROWS) -> tuple[Arrays, Arrays]:
        """Inputs and labels."""
        inputs = self.inputs(rows)
        return inputs, self.labels(np.random.default_rng(0), inputs)

    def config(self, **changes: Any) -> Any:
        """A configuration of the class, with one layer and without dropout."""
        return self.family.small.replace(**{**NEEDS.get(self.task, {}), **changes})

    def model(self, *, dtype: Any = None, **changes: Any) -> Any:
        """A model whose weights are the same every time."""
        return perturb(self.cls(self.config(**changes), dtype=dtype, **self.options))

    def compiled(self, optimizer: Any, *, model: Any = None, **options: Any) -> Any:
        """A model with the class's loss."""
        model = self.model() if model is None else model
        model.compile(optimizer, **{"loss": self.loss_function, **options})
        return model

    def outputs(self, model: Any) -> Arrays:
        """The outputs that the loss is made from."""
        inputs, labels = self.data()
        outputs = model(inputs if self.loss_function else inputs | labels)
        return {name: np.asarray(outputs[name], np.float32) for name in self.targets.values()}

    def compiled_loss(self, outputs: Arrays, labels: Arrays, weight: np.ndarray | None = None) -> float:
        """What the losses of Keras give, one for each output: they are added up, where own losses take the mean."""
        loss = label_loss if self.is_shifted else self.loss
        return (2 if len(self.targets) > 1 else 1) * loss(outputs, labels, weight)

    def pairs(self, logits: np.ndarray, *labels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Outputs and labels (or their weights) that the class's own loss compares."""
        return (logits[:, :-1], *(value[:, 1:] for value in labels)) if self.is_shifted else (logits, *labels)

    def mean_of_batches(self, outputs: Arrays, labels: Arrays, size: int, weight: np.ndarray | None = None) -> float:
        """What Keras reports for an epoch: the mean of the batches' losses, weighted by their rows."""
        total, rows = 0.0, len(next(iter(labels.values())))
        for start in range(0, rows, size):
            part = slice(start, start + size)
            cut = [{name: value[part] for name, value in arrays.items()} for arrays in (outputs, labels)]
            of_batch = None if weight is None else weight[part]
            total += self.loss(*cut, of_batch) * len(next(iter(cut[1].values())))
        return total / rows


def token_labels(rng: np.random.Generator, inputs: Arrays, classes: int, at_padding: bool = False) -> Arrays:
    """Ids at some of the real positions, or of all, and none in one row."""
    shape = inputs["input_ids"].shape
    is_counted = (rng.random(shape) < 0.7) & ((inputs["attention_mask"] == 1) | at_padding)
    is_counted[1] = False
    return {"labels": np.where(is_counted, rng.integers(0, classes, shape), IGNORED)}


def row_labels(rng: np.random.Generator, inputs: Arrays, classes: int) -> Arrays:
    labels = rng.integers(0, classes, len(inputs["input_ids"]))
    labels[2] = IGNORED
    return {"labels": labels}


def span_labels(rng: np.random.Generator, inputs: Arrays) -> Arrays:
    """Positions, one ignored and one past the end."""
    starts, ends = rng.integers(0, 6, (2, len(inputs["input_ids"])))
    starts[1], ends[3] = IGNORED, 9
    return {"start_positions": starts, "end_positions": ends}


def beam_labels(rng: np.random.Generator, inputs: Arrays) -> Arrays:
    return span_labels(rng, inputs) | {"is_impossible": rng.integers(0, 2, len(inputs["input_ids"])).astype(np.float32)}


def beam_inputs(inputs: Arrays) -> Arrays:
    rows = len(inputs["input_ids"])
    return {"cls_index": np.zeros(rows, np.int32), "p_mask": np.zeros((rows, 6), np.int32)}


def state_labels(rng: np.random.Generator, inputs: Arrays) -> Arrays:
    return {"labels": rng.normal(size=(len(inputs["input_ids"]), 6, 16)).astype(np.float32)}


def _labels_of(draw: Callable[..., Arrays], *args: Any) -> Callable[[np.random.Generator, Arrays], Arrays]:
    return lambda rng, inputs: draw(rng, inputs, *args)


CASES = (
    Case(XLM, "Model", state_labels, squared_error, loss_function="mse"),
    Case(XLM, "WithLMHeadModel", _labels_of(token_labels, 37)),
    Case(XLM, "ForSequenceClassification", _labels_of(row_labels, 3)),
    Case(XLM, "ForMultipleChoice", _labels_of(row_labels, 2), choices=2),
    Case(XLM, "ForTokenClassification", _labels_of(token_labels, 3)),
    Case(XLM, "ForQuestionAnsweringSimple", span_labels, span_loss),
    Case(XLM, "ForQuestionAnswering", beam_labels, beam_loss, more_inputs=beam_inputs),
    *(
        case
        for family in ROBERTAS
        for case in (
            # Nothing would learn in a pooling layer.
            Case(
                family, "Model", state_labels, squared_error, loss_function="mse", options={"add_pooling_layer": False}
            ),
            Case(family, "ForCausalLM", _labels_of(token_labels, 37), next_token_loss, is_shifted=True),
            Case(family, "ForMaskedLM", _labels_of(token_labels, 37, True)),
            Case(family, "ForSequenceClassification", _labels_of(row_labels, 3)),
            Case(family, "ForMultipleChoice", _labels_of(row_labels, 2), choices=2),
            Case(family, "ForTokenClassification", _labels_of(token_labels, 3, family is XLM_ROBERTA)),
            Case(family, "ForQuestionAnswering", span_labels, span_loss),
        )
    ),
)
BY_NAME = {str(case): case for case in CASES}


def sampled(habit: str, cases: Sequence[Case] = CASES, every: int = 3) -> list[Case]:
    """The cases to try a habit with: one out of `every` of XLM, and one of each other family, others for each habit.

    In a sweep they are all. Habits are the work of one mechanism, which all classes share.
    """
    if SWEEP:
        return list(cases)
    turn = zlib.crc32(habit.encode())
    own = [case for case in cases if case.family is XLM]
    chosen = own[turn % every :: every] or own[:1]
    for number, family in enumerate(ROBERTAS):
        own = [case for case in cases if case.family is family]
        # Families meet a habit with different tasks.
        chosen += own and [own[(turn + 3 * number) % len(own)]]
    return chosen


def the(task: str) -> list[Case]:
    """The case of a task in each family that has it."""
    return [BY_NAME[family.prefix + task] for family in FAMILIES if task in family.tasks]


# The case of each family that predicts masked tokens.
LANGUAGE_MODELS = [BY_NAME[family.prefix + family.language_model] for family in FAMILIES]
