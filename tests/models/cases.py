"""Small examples of every XLM class to train on, each with its loss computed by numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.models.battery import perturb, random_inputs
from tests.models.conftest import CONFIG
from tfxlm import (
    TFXLMForMultipleChoice,
    TFXLMForQuestionAnswering,
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
    TFXLMModel,
    TFXLMWithLMHeadModel,
)

Arrays = dict[str, np.ndarray]

SMALL = CONFIG.replace(n_layers=1, dropout=0.0, attention_dropout=0.0, summary_first_dropout=0.0)
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
        cls: the class.
        labels: draws labels for inputs, by argument.
        loss: the class's loss of outputs (arrays by name), labels, and weights of rows.
        num_labels: of the configuration.
        choices: texts in a row; 0 for classes without that axis.
        loss_function: what to compile where the class has no loss of its own.
        more_inputs: draws inputs that only this class takes.
    """

    cls: Any
    labels: Callable[[np.random.Generator, Arrays], Arrays]
    loss: Callable[..., float] = label_loss
    num_labels: int = 3
    choices: int = 0
    loss_function: str | None = None
    more_inputs: Callable[[Arrays], Arrays] = lambda inputs: {}

    def __str__(self) -> str:
        return self.cls.__name__

    @property
    def targets(self) -> Mapping[str, str]:
        """Outputs by label."""
        return self.cls.labels.targets

    def inputs(self, rows: int = ROWS) -> Arrays:
        lengths = (LENGTHS * 4)[: rows * (self.choices or 1)]
        inputs = random_inputs(SMALL, lengths=lengths, choices=self.choices)
        return inputs | self.more_inputs(inputs)

    def data(self, rows: int = ROWS) -> tuple[Arrays, Arrays]:
        """Inputs and labels."""
        inputs = self.inputs(rows)
        return inputs, self.labels(np.random.default_rng(0), inputs)

    def model(self, *, dtype: str | None = None, **changes: Any) -> Any:
        """A model whose weights are the same every time."""
        return perturb(self.cls(SMALL.replace(num_labels=self.num_labels, **changes), dtype=dtype))

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

    def mean_of_batches(self, outputs: Arrays, labels: Arrays, size: int, weight: np.ndarray | None = None) -> float:
        """What Keras reports for an epoch: the mean of the batches' losses, weighted by their rows."""
        total, rows = 0.0, len(next(iter(labels.values())))
        for start in range(0, rows, size):
            part = slice(start, start + size)
            cut = [{name: value[part] for name, value in arrays.items()} for arrays in (outputs, labels)]
            of_batch = None if weight is None else weight[part]
            total += self.loss(*cut, of_batch) * len(next(iter(cut[1].values())))
        return total / rows


def token_labels(rng: np.random.Generator, inputs: Arrays, classes: int) -> Arrays:
    """Ids at some of the real positions, none in one row."""
    shape = inputs["input_ids"].shape
    is_counted = (rng.random(shape) < 0.7) & (inputs["attention_mask"] == 1)
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


CASES = (
    Case(
        TFXLMModel,
        lambda rng, inputs: {"labels": rng.normal(size=(len(inputs["input_ids"]), 6, 16)).astype(np.float32)},
        squared_error,
        loss_function="mse",
    ),
    Case(TFXLMWithLMHeadModel, lambda rng, inputs: token_labels(rng, inputs, 37)),
    Case(TFXLMForSequenceClassification, lambda rng, inputs: row_labels(rng, inputs, 3)),
    Case(TFXLMForMultipleChoice, lambda rng, inputs: row_labels(rng, inputs, 2), choices=2),
    Case(TFXLMForTokenClassification, lambda rng, inputs: token_labels(rng, inputs, 3)),
    Case(TFXLMForQuestionAnsweringSimple, span_labels, span_loss, num_labels=2),
    Case(TFXLMForQuestionAnswering, beam_labels, beam_loss, num_labels=2, more_inputs=beam_inputs),
)
BY_NAME = {case.cls.__name__.removeprefix("TFXLM"): case for case in CASES}
