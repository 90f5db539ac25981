"""What a training prints: a line that is written over, lines in a log, and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tfxlm.training.callbacks import RunCallback
from tfxlm.training.metrics import Figures
from tfxlm.training.run import FigureTable, Run


class ShowProgress(RunCallback):
    """Shows the figures of the last steps: in one line on a terminal, elsewhere in a line every so many steps.

    Args:
        run: the state.
        console: where to.
    """

    def __init__(self, run: Run, console: Console) -> None:
        super().__init__(run)
        self._console = console
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=12),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=run.config.steps, completed=run.step)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins the line."""
        self._bar.start()

    def on_train_end(self, logs: Any = None) -> None:
        """Ends it."""
        self._bar.stop()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Renews it; the last of the callbacks, as what it shows begins anew."""
        run = self.run
        is_evaluated = run.is_due(run.config.evaluate_every)
        self._bar.update(self._task, completed=run.step)
        if run.is_due(run.config.log_every):
            self._bar.update(self._task, description=escape(self._line()))
            if not self._console.is_terminal:
                self._print(f"step {run.step:,}/{run.config.steps:,}  {self._line()}")
            run.window.clear()
        if is_evaluated and run.held_out:
            best = "  (the best)" if run.is_best else ""
            self._print(f"step {run.step:,} held out  {_listed(run.held_out)}{best}")

    def stop(self) -> None:
        """Ends the line where training ended with an error."""
        self._bar.stop()

    def _line(self) -> str:
        run = self.run
        rate = run.learning_rate(run.step - 1)
        return (
            f"{_listed(run.window)}  lr {rate:.2g}  |g| {run.gradient_norm:.2g}  "
            f"{run.tokens_per_second:,.0f} tokens/s  {run.seconds.share:.1%} waiting for data"
        )

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _listed(figures: dict[str, Figures]) -> str:
    """Says perplexity and accuracy of each, such as "mlm:en 12.3 (45%)"."""
    return "  ".join(f"{name} {_perplexity(each)} ({each.accuracy:.0%})" for name, each in sorted(figures.items()))


def _perplexity(figures: Figures) -> str:
    return "-" if math.isnan(figures.loss) else f"{figures.perplexity:,.1f}"


def _accuracy(figures: Figures) -> str:
    return "-" if math.isnan(figures.accuracy) else f"{figures.accuracy:.1%}"


def results_table(entries: Sequence[str], trained: FigureTable, held_out: FigureTable) -> Table:
    """Makes the table at the end: what was learned from, and how well all of it is predicted.

    Args:
        entries: objectives and languages, such as "mlm:en".
        trained: figures of the batches.
        held_out: those of the evaluation.
    """
    table = Table(title="Pre-training", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    names = ("objective", "batches", "tokens", "perplexity", "accuracy", "held out", "accuracy")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    for name in entries:
        own, held = trained.get(name, Figures()), held_out.get(name, Figures())
        figures = (f"{own.batches:,}", f"{own.tokens:,.0f}", _perplexity(own), _accuracy(own))
        table.add_row(name, *figures, _perplexity(held), _accuracy(held))
    return table
