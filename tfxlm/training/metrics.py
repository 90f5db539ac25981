"""How well a language model predicts: what is counted in a batch, and what comes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import keras
from keras import ops

from tfxlm.backend import argmax


@keras.saving.register_keras_serializable("tfxlm")
class CountedTokens(keras.metrics.Sum):
    """How many labels count, by their weights."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds those of a batch: (batch, P), (batch, P, vocab_size) and (batch, P)."""
        super().update_state(ops.ones_like(y_true, "float32"), sample_weight)


@keras.saving.register_keras_serializable("tfxlm")
class CorrectTokens(keras.metrics.Sum):
    """How many of them are the token that the model holds most probable."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds those of a batch: (batch, P), (batch, P, vocab_size) and (batch, P)."""
        best = argmax(y_pred)
        super().update_state(ops.cast(ops.equal(best, ops.cast(y_true, best.dtype)), "float32"), sample_weight)


def token_metrics() -> list[keras.metrics.Metric]:
    """Makes the metrics that `Figures` are read from; give them to `compile(weighted_metrics=...)`."""
    return [CountedTokens(name="tokens"), CorrectTokens(name="correct")]


@dataclasses.dataclass
class Figures:
    """Sums over batches, and means over the tokens that were predicted.

    Args:
        loss_sum: sum of the tokens' losses.
        tokens: how many there were.
        correct: how many of them were right.
        batches: number of batches.
    """

    loss_sum: float = 0.0
    tokens: float = 0.0
    correct: float = 0.0
    batches: int = 0

    @classmethod
    def of_batch(cls, results: Mapping[str, Any]) -> Self:
        """Reads the results of `token_metrics` and the loss, over one batch."""
        loss, tokens, correct = (float(results[name]) for name in ("loss", "tokens", "correct"))
        return cls(loss * tokens, tokens, correct, 1)

    def add(self, other: Figures) -> None:
        """Adds those of other batches."""
        self.loss_sum += other.loss_sum
        self.tokens += other.tokens
        self.correct += other.correct
        self.batches += other.batches

    @property
    def loss(self) -> float:
        """Mean loss of a token, in nats; NaN where there was none."""
        return self.loss_sum / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """The number of tokens between which a guess would do as well."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    @property
    def accuracy(self) -> float:
        """Share of the tokens that were right; NaN where there was none."""
        return self.correct / self.tokens if self.tokens else math.nan


def mean_loss(figures: Mapping[str, Figures]) -> float:
    """Returns the mean of the losses of several languages, each counting once, where there are tokens."""
    losses = [each.loss for each in figures.values() if each.tokens]
    return sum(losses) / len(losses) if losses else math.nan
