"""What a pre-training would do, found out without a step of it."""

from __future__ import annotations

import dataclasses

from rich.table import Table

from tfxlm.backend import deferred_variables
from tfxlm.models import TFAutoModelForPreTraining
from tfxlm.training.recipes import make_config, make_data
from tfxlm.training.schedules import WarmUp
from tfxlm.training.settings import PretrainingConfig

MARKS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class PlannedEntry:
    """What is planned for an objective on a language.

    Args:
        name: such as "mlm:en".
        share: of the batches, on average.
        batches: how many of the steps it gets.
        rows: rows of one epoch.
        epochs: how often all of its text is seen.
    """

    name: str
    share: float
    batches: int
    rows: int
    epochs: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is planned.

    Args:
        architecture: class of the model.
        parameters: how many it has.
        embedding_parameters: how many of them are in tables of embeddings.
        tokens_per_step: of all rows of a batch.
        rows_per_update: rows whose gradients make one update.
        entries: what is learned.
        learning_rates: at some steps, from the first to the last.
    """

    architecture: str
    parameters: int
    embedding_parameters: int
    tokens_per_step: int
    rows_per_update: int
    entries: tuple[PlannedEntry, ...]
    learning_rates: dict[int, float]

    def tables(self) -> list[Table]:
        """Returns all of it as tables to print."""
        whole = Table(title="Plan", title_justify="left", show_header=False)
        whole.add_row("model", f"{self.architecture}, {self.parameters:,} parameters")
        whole.add_row("in embeddings", f"{self.embedding_parameters:,}")
        whole.add_row("tokens per step", f"{self.tokens_per_step:,}")
        whole.add_row("rows per update", f"{self.rows_per_update:,}")
        whole.add_row("tokens in all", f"{self.tokens_per_step * sum(entry.batches for entry in self.entries):,}")
        corpora = Table(title="Corpora", title_justify="left")
        for name in ("objective", "share", "batches", "rows of an epoch", "epochs"):
            corpora.add_column(name, justify="left" if name == "objective" else "right")
        for entry in self.entries:
            figures = (f"{entry.share:.1%}", f"{entry.batches:,}", f"{entry.rows:,}", f"{entry.epochs:,.2f}")
            corpora.add_row(entry.name, *figures)
        rates = Table(title="Schedule", title_justify="left")
        rates.add_column("step", justify="right")
        rates.add_column("learning rate", justify="right")
        for step, rate in self.learning_rates.items():
            rates.add_row(f"{step + 1:,}", f"{rate:.3g}")
        return [whole, corpora, rates]


def make_plan(config: PretrainingConfig) -> Plan:
    """Says what a pre-training would do.

    Args:
        config: the settings.

    Raises:
        ConfigError: they are wrong.
    """
    data, tokenizer = make_data(config)
    made = make_config(config, data, tokenizer)
    with deferred_variables():
        model = TFAutoModelForPreTraining.from_config(made)
    parameters = model.num_parameters()
    batches = data.batches_of(config.steps)
    entries = tuple(
        PlannedEntry(f"{entry.objective}:{entry.name}", entry.share, count, rows, count * config.batch_size / rows)
        for entry, count, rows in zip(data.entries, batches, data.rows_of_an_epoch, strict=True)
    )
    schedule = WarmUp.of(config)
    marks = sorted({min(round(share * config.steps), config.steps - 1) for share in MARKS} | {config.warmup_steps})
    return Plan(
        architecture=type(model).__name__,
        parameters=parameters,
        embedding_parameters=parameters - model.num_parameters(exclude_embeddings=True),
        tokens_per_step=config.batch_size * config.length,
        rows_per_update=config.batch_size * config.accumulate,
        entries=entries,
        learning_rates={step: float(schedule(step)) for step in marks if step < config.steps},
    )
