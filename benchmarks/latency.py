"""Latency: the forward pass of one sentence of 24 tokens."""

from __future__ import annotations

from benchmarks.measure import interleaved
from benchmarks.subjects import MODES, full_inputs, our_forward, their_forward
from benchmarks.table import Row, best, rows_beside

LENGTH = 24
# One call takes some milliseconds, which is less than the machine's hiccups: more of them for each round.
CALLS_PER_ROUND = 10


def run(rounds: int = 15) -> list[Row]:
    """Measures, and returns the rows of the table."""
    inputs = full_inputs(1, LENGTH)
    seconds = interleaved(
        {"tfxlm": our_forward(inputs), **their_forward(inputs)}, rounds=CALLS_PER_ROUND * rounds, warmup=20
    )
    return rows_beside(f"forward of one sentence, {LENGTH} tokens", seconds, best(seconds, MODES), {"tfxlm": 1.1})
