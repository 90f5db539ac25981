"""Compares graph tokenizers with the Python tokenizers that they are made of."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import tensorflow as tf

from tfxlm.tokenizers.in_graph import GraphTokenizer

SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")
T = TypeVar("T")
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


# The languages of the data, and how names of files call those that have another code.
LANGUAGES = ("en", "de", "fr", "zh", "ja", "th", "ar", "ru", "sw", "it")
CODES = {"eng": "en", "deu": "de", "fra": "fr", "zho": "zh", "jpn": "ja", "tha": "th", "arb": "ar", "rus": "ru"}
CODES |= {"swa": "sw", "swh": "sw"}


def texts_of_data() -> list[tuple[str, str]]:
    """Returns every cell of every table, every line and every string of JSON that there is, with its language."""
    found: dict[tuple[str, str], None] = {}
    for path in sorted(Path(os.environ["TFXLM_DATA"]).rglob("*")):
        names = [CODES.get(name, name) for name in re.split(r"[._-]", path.name)]
        langs = [name for name in names if name in LANGUAGES]
        if not langs or path.suffix not in (".txt", ".tsv", ".jsonl", ".conll", ".gz", ".json"):
            continue
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            if path.suffix.startswith(".json"):
                documents = [json.load(file)] if path.suffix == ".json" else map(json.loads, file)
                found |= dict.fromkeys((text, langs[0]) for document in documents for text in _strings(document))
                continue
            for line in file.read().split("\n"):
                # Of translations each column is in a language of its own, and who made them is said in English.
                rest = itertools.repeat("en" if len(langs) > 1 else langs[0])
                found |= dict.fromkeys(zip(line.split("\t"), itertools.chain(langs, rest), strict=False))
    return [(text, lang) for text, lang in found if text]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def lines_of_data() -> list[str]:
    """Returns the texts alone, each once."""
    return list(dict.fromkeys(text for text, _ in texts_of_data()))


def batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cuts rows into batches of 1 to 1024."""
    sizes, start = itertools.chain((1, 2, 31, 32, 1024) * 5, itertools.repeat(1024)), 0
    while start < len(rows):
        size = next(sizes)
        yield rows[start : start + size]
        start += size
