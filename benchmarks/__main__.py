"""Runs the benchmarks and prints a table of each.

Every ratio is of medians of interleaved rounds in one run; a peer is compared by the better of its modes.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from importlib import import_module

from benchmarks.table import print_table

NAMES = ("loading", "forward", "padding", "latency", "training", "memory", "tokenization")
# Only when they are named: they fill the disk.
NAMED = ("large",)


def main() -> int:
    """Returns 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = f"{', '.join(NAMES)} (default: all of these); {', '.join(NAMED)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {known}")
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each (default: 15)")
    parser.add_argument("--shape", choices=("xl", "xxl"), default="xl", help="of large: which model (default: xl)")
    parser.add_argument(
        "--folder", help="of large: where its checkpoint, 7 or 21.5 GB, is made (default: the system's)"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - {*NAMES, *NAMED}:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join((*NAMES, *NAMED))}")
    holds = True
    for name in options.names or NAMES:
        run = import_module(f"benchmarks.{name}").run
        rows = run(**{option: getattr(options, option) for option in inspect.signature(run).parameters})
        print_table(name, rows)
        holds &= all(row.holds for row in rows)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
