"""Where a training is: steps, figures, the best evaluation so far, and the time that went by."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from tfxlm.data import PretrainingData
from tfxlm.training.distribution import Devices
from tfxlm.training.metrics import Figures, mean_loss
from tfxlm.training.schedules import WarmUp
from tfxlm.training.settings import PretrainingConfig

FigureTable = dict[str, Figures]


@dataclasses.dataclass
class Seconds:
    """How long the process waited for batches, and how long it learned from them."""

    waiting: float = 0.0
    learning: float = 0.0

    @property
    def share(self) -> float:
        """Share of a step that was spent waiting for data."""
        whole = self.waiting + self.learning
        return self.waiting / whole if whole else 0.0

    @property
    def whole(self) -> float:
        """Both together."""
        return self.waiting + self.learning


class Run:
    """The state of a training.

    Args:
        config: the settings.
        data: the batches.
        devices: where it runs.

    Attributes:
        step: how many batches were learned from.
        seconds: of this process, since it began.
        total, window: figures by objective and language, such as "mlm:en": of all batches, and of those since the last
            line of progress.
        held_out: those of the last evaluation.
        best_step, best_loss: of the evaluation with the lowest loss.
        is_best: whether the evaluation of this step is that one.
        without_better: evaluations since then.
        gradient_norm: of the last step.
    """

    def __init__(self, config: PretrainingConfig, data: PretrainingData, devices: Devices) -> None:
        self.config, self.data, self.devices = config, data, devices
        self.schedule = WarmUp.of(config)
        self.step = self.first_step = 0
        self.seconds = Seconds()
        self.total: FigureTable = defaultdict(Figures)
        self.window: FigureTable = defaultdict(Figures)
        self.held_out: FigureTable = {}
        self.best_step: int | None = None
        self.best_loss: float | None = None
        self.is_best = False
        self.without_better = 0
        self.gradient_norm = 0.0

    def entry(self, step: int) -> str:
        """Returns objective and language of a step, such as "tlm:en-de"."""
        return ":".join(self.data.plan(step))

    def learning_rate(self, step: int) -> float:
        """Returns that of a step, counted from 0."""
        return float(self.schedule(step))

    def add(self, figures: Figures) -> None:
        """Counts the batch of the present step, and goes to the next."""
        name = self.entry(self.step)
        self.total[name].add(figures)
        self.window[name].add(figures)
        self.step += 1
        self.is_best = False

    def evaluated(self, held_out: FigureTable) -> None:
        """Takes the figures of an evaluation, and sees whether they are the best."""
        self.held_out = held_out
        loss = mean_loss(held_out) if self.config.monitor == "mean" else held_out[self.config.monitor].loss
        # There is none where nothing was hidden, as in very little text.
        self.is_best = math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss)
        self.without_better = 0 if self.is_best else self.without_better + 1
        if self.is_best:
            self.best_loss, self.best_step = loss, self.step

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many steps is to be done now; at the end it is, too."""
        return bool(every) and (self.step % every == 0 or self.is_over)

    @property
    def is_over(self) -> bool:
        """Whether there are no more steps."""
        return self.step >= self.config.steps

    @property
    def tokens_per_second(self) -> float:
        """Tokens of a row and padding that went through the model in a second, of this process's steps."""
        tokens = (self.step - self.first_step) * self.config.batch_size * self.config.length
        return tokens / self.seconds.whole if self.seconds.whole else 0.0

    def state(self) -> dict[str, Any]:
        """Returns what has to be saved, as JSON types."""
        return {
            "config": self.config.to_dict(),
            "store": store_identity(self.data),
            "total": _as_json(self.total),
            "held_out": _as_json(self.held_out),
            "best_step": self.best_step,
            "best_loss": self.best_loss,
            "without_better": self.without_better,
        }

    def restore(self, state: Mapping[str, Any], steps: Collection[int]) -> None:
        """Goes back to what `state` returned.

        The best is found anew where losses of another kind were compared until now, or its checkpoint has gone.

        Args:
            state: of a checkpoint.
            steps: those of all checkpoints.
        """
        self.step = self.first_step = state["step"]
        self.total = defaultdict(Figures, figures_of(state["total"]))
        self.held_out = figures_of(state["held_out"])
        if state["config"].get("monitor") == self.config.monitor and state["best_step"] in (None, *steps):
            self.best_step, self.best_loss = state["best_step"], state["best_loss"]
            self.without_better = state["without_better"]


def store_identity(data: PretrainingData) -> dict[str, str]:
    """Returns what is the same in two stores only if all their texts are."""
    return {"fingerprint": data.store.fingerprint, **data.store.checksums}


def figures_of(table: Mapping[str, Mapping[str, Any]]) -> FigureTable:
    """Returns figures that a state has as JSON types."""
    return {name: Figures(**each) for name, each in table.items()}


def _as_json(table: Mapping[str, Figures]) -> dict[str, Any]:
    return {name: dataclasses.asdict(each) for name, each in table.items()}
