"""The result table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.measure import median


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Args:
        work: what was measured.
        who: whose implementation.
        value: the median, in `unit`.
        ratio: `value` over what it is compared with.
        compared: what that is.
        bound: the largest ratio we allow ourselves, or None.
        unit: of `value`.
    """

    work: str
    who: str
    value: float
    ratio: float
    compared: str
    bound: float | None = None
    unit: str = "s"

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.bound is None or self.ratio <= self.bound


def best(values: Mapping[str, list[float]], names: Iterable[str]) -> str:
    """Returns which of `names` has the smallest median."""
    return min(names, key=lambda name: median(values[name]))


def rows_beside(
    work: str, values: Mapping[str, list[float]], base: str, bounds: Mapping[str, float], *, unit: str = "s"
) -> list[Row]:
    """Makes the rows of one work: everyone's median beside that of `base`.

    Args:
        work: what was measured.
        values: the measured figures by name.
        base: the name that all are compared with.
        bounds: the largest ratio allowed, by name.
        unit: of the figures.
    """
    middle = {name: median(figures) for name, figures in values.items()}
    return [
        Row(work, name, value, value / middle[base], f"x {base}", bounds.get(name), unit)
        for name, value in middle.items()
    ]


def print_table(title: str, rows: Iterable[Row]) -> None:
    """Prints the table of one benchmark."""
    table = Table("work", "who", "median", "ratio", "compared with", "bound", title=title)
    for row in rows:
        bound = "" if row.bound is None else f"{row.bound:.2f} {'kept' if row.holds else 'MISSED'}"
        table.add_row(row.work, row.who, f"{row.value:.3g} {row.unit}", f"{row.ratio:.2f}", row.compared, bound)
    Console(width=140).print(table)
