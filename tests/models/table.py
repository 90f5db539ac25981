"""Prints how many tests each habit has with each class: `python -m tests.models.table`.

With `TFXLM_SWEEP=1` these are the tests of a sweep; without, those of every run. `--json` prints them for programs.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.models.cases import BY_NAME, CASES

HABITS = ("fit", "weights", "lora", "optimizers", "quantize", "saving", "distribution")

Table = Mapping[str, Mapping[str, int]]


class Collector:
    """A plugin of pytest that counts what it collects: by test function, and by the class that it is tried with."""

    def __init__(self) -> None:
        self.table: dict[str, collections.Counter[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Counts."""
        for item in session.items:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            case = str(params.get("case", params.get("name")))
            if case in BY_NAME:
                function = f"{item.path.stem.removeprefix('test_keras_')}: {item.originalname}"
                self.table.setdefault(function, collections.Counter())[case] += 1


def collected() -> Table:
    """Returns the number of tests by function and class."""
    collector = Collector()
    files = [str(Path(__file__).parent / f"test_keras_{habit}.py") for habit in HABITS]
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        code = pytest.main(["--collect-only", "-q", "-n0", "-p", "no:cacheprovider", *files], plugins=[collector])
    assert code == 0, f"pytest ended with {code}"
    return collector.table


def lines(table: Table) -> list[str]:
    """The table as text: a line for each function, a column for each class that has a number in the list above."""
    classes = [str(case) for case in CASES]
    width = max(map(len, table))
    numbered = [f"{number:>3}  {name}" for number, name in enumerate(classes, 1)]
    head = " " * width + "".join(f"{number:>4}" for number in range(1, len(classes) + 1))
    rows = [f"{name:<{width}}" + "".join(f"{counts.get(each, 0) or '.':>4}" for each in classes)
            for name, counts in table.items()]  # fmt: skip
    return [*numbered, "", head, *rows]


if __name__ == "__main__":
    print(json.dumps(collected()) if "--json" in sys.argv else "\n".join(lines(collected())))
