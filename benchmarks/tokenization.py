"""Tokenization in Python: sentences per second beside transformers, on real text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import interleaved, median
from benchmarks.table import Row

SENTENCES = 500
FOLDER = Path(__file__).parents[1] / "examples" / "checkpoint"

Calls = dict[str, Callable[[list[str]], Any]]


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one family; no rows without the environment variable TFXLM_DATA."""
    data = os.environ.get("TFXLM_DATA")
    if not data:
        print("tokenization: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    lines = Path(data, "parallel", "ntrex.eng.txt").read_text(encoding="utf-8").splitlines()
    # A fresh part for each call: caches of words must not turn the work into a look-up of whole sentences.
    parts = [lines[start : start + SENTENCES] for start in range(0, len(lines) - SENTENCES, SENTENCES)]
    return compared(part, PARTS[part](Path(data)), parts, rounds)


def xlm_calls(data: Path) -> Calls:
    """The calls of XLM's tokenizers. `transformers` has no offsets for it."""
    from transformers import XLMTokenizer as TheirTokenizer

    from tfxlm import XLMTokenizer

    return {
        "tfxlm": XLMTokenizer.from_pretrained(FOLDER),
        "transformers": TheirTokenizer.from_pretrained(FOLDER),
        "tfxlm, offsets": partial(XLMTokenizer.from_pretrained(FOLDER), return_offsets_mapping=True),
    }


def xlm_roberta_calls(data: Path) -> Calls:
    """The calls of XLM-RoBERTa's tokenizers; the fast one of `transformers` uses all cores."""
    from transformers import XLMRobertaTokenizer as TheirTokenizer
    from transformers import XLMRobertaTokenizerFast as TheirFastTokenizer

    from tfxlm import XLMRobertaTokenizer

    ours = XLMRobertaTokenizer(data / "vocab" / "xlmr_sentencepiece_rebuilt.model")
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        fast = TheirFastTokenizer.from_pretrained(folder)
        slow = TheirTokenizer.from_pretrained(folder)
    return {
        "tfxlm": ours,
        "transformers": slow,
        "transformers, fast": fast,
        "tfxlm, offsets": partial(ours, return_offsets_mapping=True),
        "transformers, fast, offsets": partial(fast, return_offsets_mapping=True),
    }


def compared(family: str, calls: Calls, parts: list[list[str]], rounds: int) -> list[Row]:
    """Measures the calls by turns, and returns a row for each.

    Args:
        family: name of the family.
        calls: what takes a list of sentences, by name.
        parts: lists of sentences.
        rounds: how many times each call is measured.
    """
    turns = dict.fromkeys(calls, 0)

    def work(name: str) -> int:
        turns[name] += 1
        return len(calls[name](parts[turns[name] % len(parts)])["input_ids"])

    seconds = interleaved({name: partial(work, name) for name in calls}, rounds=rounds)
    theirs = median(seconds["transformers"])
    return [
        Row(
            f"tokenize {SENTENCES} sentences, {family}", name, median(values), median(values) / theirs, "x transformers"
        )
        for name, values in seconds.items()
    ]


PARTS: dict[str, Callable[[Path], Calls]] = {"xlm": xlm_calls, "xlm-roberta": xlm_roberta_calls}
