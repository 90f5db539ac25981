"""What a benchmark consists of. Each module has `PARTS`, and `rows_of`, which measures one of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from benchmarks.table import Row


def parts_of(name: str) -> list[str]:
    """Returns the names of a benchmark's parts."""
    return list(import_module(f"benchmarks.{name}").PARTS)


def measured(name: str, part: str, options: Mapping[str, Any]) -> list[Row]:
    """Measures one part.

    Args:
        name: of the benchmark.
        part: its part.
        options: those of the command line; each benchmark takes what it knows.
    """
    rows_of = import_module(f"benchmarks.{name}").rows_of
    known = inspect.signature(rows_of).parameters
    return rows_of(part, **{option: value for option, value in options.items() if option in known})
