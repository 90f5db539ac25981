"""Latency: the forward pass of one sentence of 24 tokens."""

from __future__ import annotations

from benchmarks.measure import interleaved
from benchmarks.subjects import MODES, SUBJECTS, full_inputs, our_forward, their_forward
from benchmarks.table import Row, best, rows_beside

LENGTH = 24
# One call takes some milliseconds, which is less than the machine's hiccups: more of them for each round.
CALLS_PER_ROUND = 10
PARTS = tuple(SUBJECTS)


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one subject."""
    subject = SUBJECTS[part]
    inputs = full_inputs(subject, 1, LENGTH)
    seconds = interleaved(
        {"tfxlm": our_forward(subject, inputs), **their_forward(subject, inputs)},
        rounds=CALLS_PER_ROUND * rounds,
        warmup=20,
    )
    work = f"forward of one sentence, {subject.title}, {LENGTH} tokens"
    return rows_beside(work, seconds, best(seconds, MODES), {"tfxlm": 1.1})
