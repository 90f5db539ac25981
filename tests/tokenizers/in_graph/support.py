"""Compares graph tokenizers with the Python tokenizers that they are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tfxlm.tokenizers.in_graph import GraphTokenizer

SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")
_TEXTS = tf.TensorSpec([None], tf.string)


def pieces_of(graph: GraphTokenizer) -> Any:
    """Returns a function from bytes and language codes to lists of ids."""
    run = tf.function(graph.piece_ids, input_signature=[_TEXTS, _TEXTS], autograph=False)
    return lambda texts, langs: run(tf.constant(texts, tf.string), tf.constant(langs, tf.string)).to_list()


def expected_pieces(tokenizer: Any, texts: Sequence[bytes], langs: Sequence[str]) -> list[list[int]]:
    """Returns what the Python tokenizer makes of them."""
    options = {"split_special_tokens": True, "add_special_tokens": False, "verbose": False}
    return [
        tokenizer(text.decode(errors="replace"), lang=lang, **options)["input_ids"]
        for text, lang in zip(texts, langs, strict=True)
    ]


def differences(tokenizer: Any, run: Any, texts: Sequence[bytes], langs: Sequence[str]) -> list[Any]:
    """Returns texts whose ids differ, with both."""
    found, expected = run(texts, langs), expected_pieces(tokenizer, texts, langs)
    rows = zip(texts, langs, found, expected, strict=True)
    return [(text, lang, ids, others) for text, lang, ids, others in rows if ids != others]


def lines_of_data() -> Iterator[str]:
    """Yields every cell of every table and line that there is, in all languages."""
    for path in sorted(Path(os.environ["TFXLM_DATA"]).rglob("*")):
        if path.suffix in (".txt", ".tsv", ".jsonl", ".conll") and path.name != "MANIFEST.tsv":
            for line in path.read_text(encoding="utf-8").split("\n"):
                yield from filter(None, line.split("\t"))


def batches(texts: Sequence[str]) -> Iterator[list[bytes]]:
    """Cuts texts into batches of 1 to 1024."""
    start, sizes = 0, (1, 2, 31, 32, 1024)
    while start < len(texts):
        size = sizes[start % len(sizes)] if start < 5000 else 1024
        yield [text.encode() for text in texts[start : start + size]]
        start += size
