"""Runs the benchmarks and prints a table of each.

Every ratio is of medians of interleaved rounds in one run; a peer is compared by the better of its modes.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from benchmarks.table import print_table

NAMES = ("loading", "forward", "padding", "latency", "training", "memory", "tokenization")


def main() -> int:
    """Returns 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each (default: 15)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    holds = True
    for name in options.names or NAMES:
        rows = import_module(f"benchmarks.{name}").run(rounds=options.rounds)
        print_table(name, rows)
        holds &= all(row.holds for row in rows)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
