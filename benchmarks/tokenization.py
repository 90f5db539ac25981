"""Tokenization in Python: sentences per second beside transformers, on real text."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, median
from benchmarks.table import Row

SENTENCES = 500
FOLDER = Path(__file__).parents[1] / "examples" / "checkpoint"


def run(rounds: int = 7) -> list[Row]:
    """Measures, and returns the rows of the table; none without the environment variable TFXLM_DATA."""
    from transformers import XLMTokenizer as TheirTokenizer

    from tfxlm import XLMTokenizer

    data = os.environ.get("TFXLM_DATA")
    if not data:
        print("tokenization: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    lines = Path(data, "parallel", "ntrex.eng.txt").read_text(encoding="utf-8").splitlines()
    # A fresh part for each call: caches of words must not turn the work into a look-up of whole sentences.
    parts = [lines[start : start + SENTENCES] for start in range(0, len(lines) - SENTENCES, SENTENCES)]
    tokenizers = {"tfxlm": XLMTokenizer.from_pretrained(FOLDER), "transformers": TheirTokenizer.from_pretrained(FOLDER)}
    calls = {name: partial(tokenizer) for name, tokenizer in tokenizers.items()}
    # transformers has no offsets for XLM.
    calls["tfxlm, offsets"] = partial(XLMTokenizer.from_pretrained(FOLDER), return_offsets_mapping=True)
    turns = dict.fromkeys(calls, 0)

    def work(name: str) -> int:
        turns[name] += 1
        return len(calls[name](parts[turns[name] % len(parts)])["input_ids"])

    seconds = interleaved({name: partial(work, name) for name in calls}, rounds=rounds)
    theirs = median(seconds["transformers"])
    return [
        Row(f"tokenize {SENTENCES} sentences", name, median(values), median(values) / theirs, "x transformers")
        for name, values in seconds.items()
    ]
