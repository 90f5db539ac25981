"""Raw text in the graph: its tokenization beside `transformers` in Python, and what it adds to an exported model."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfxlm
from benchmarks.measure import interleaved
from benchmarks.subjects import XLM, Work
from benchmarks.table import Row, rows_beside
from tfxlm.tokenizers.in_graph import graph_tokenizer

LANG = "en"
ONE_SENTENCE = ["Hello world, how are you doing today?"]
# Sentences of a call, with the share of the time of `transformers` that is allowed; what a signature over texts may
# take beside that over ids.
BATCHES, SIGNATURE_BATCH, SIGNATURE_BOUND = {1024: 1 / 4, 32: 1 / 2}, 32, 1.10
# Milliseconds that one short sentence may take.
MOST_MS = 1.0
_TEXTS = tf.TensorSpec([None], tf.string)


def xlm_tokenizers(data: Path, folder: str) -> tuple[Any, Any]:
    """The released pieces of two languages, in both libraries."""
    from transformers import XLMTokenizer

    lists = data / "vocab" / "xlm_cc_by_nc"
    options = {"lang2id": {"de": 0, "en": 1}, "model_max_length": 512}
    ours = tfxlm.XLMTokenizer.from_fastbpe(lists / "codes_ende", lists / "vocab_ende", **options)
    ours.save_pretrained(folder)
    return ours, XLMTokenizer.from_pretrained(folder)


def xlm_roberta_tokenizers(data: Path, folder: str) -> tuple[Any, Any]:
    """The released pieces, in both libraries."""
    from transformers import XLMRobertaTokenizer

    ours = tfxlm.XLMRobertaTokenizer(data / "vocab" / "xlmr_sentencepiece_rebuilt.model", model_max_length=512)
    ours.save_pretrained(folder)
    return ours, XLMRobertaTokenizer.from_pretrained(folder)


def in_graph(tokenizer: Any, **options: Any) -> Callable[[list[str]], Any]:
    """Returns the graph's tokenization of a list of texts, to padded ids; options as of `graph_tokenizer`."""
    graph = graph_tokenizer(tokenizer, **({"lang": LANG} if tokenizer.lang2id else {}), **options)
    run = tf.function(lambda texts: graph(texts).input_ids, input_signature=[_TEXTS], autograph=False)
    concrete = run.get_concrete_function()
    return lambda texts: concrete(tf.constant(texts))


def turns(call: Callable[[list[str]], Any], parts: list[list[str]]) -> Work:
    """Returns a call that takes the next part each time: caches must not turn the work into a look-up."""
    rest: Iterator[list[str]] = iter(())

    def work() -> Any:
        nonlocal rest
        part = next(rest, None)
        if part is None:
            rest = iter(parts)
            part = next(rest)
        return call(part)

    return work


def tokenization_rows(family: str, data: Path, rounds: int) -> list[Row]:
    """Measures the tokenization of one family."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = FAMILIES[family](data, folder)
    graph = in_graph(ours)
    lines = (data / "parallel" / "ntrex.eng.txt").read_text(encoding="utf-8").splitlines()
    rows: list[Row] = []
    for size, bound in BATCHES.items():
        step = min(size, len(lines) - size)
        parts = [lines[start : start + size] for start in range(0, len(lines) - size + 1, step)]
        works = {
            "in the graph": turns(graph, parts),
            "transformers": turns(partial(theirs, padding=True), parts),
            "tfxlm in Python": turns(partial(ours, padding=True), parts),
        }
        seconds = interleaved(works, rounds=rounds)
        rows += rows_beside(f"{family}, {size} sentences", seconds, "transformers", {"in the graph": bound})
    single: dict[str, Callable[[list[str]], Any]] = {"in the graph": graph}
    if ours.lang2id:  # XLM, whose merges a SentencePiece model can have, too
        single["in the graph, with SentencePiece"] = in_graph(ours, byte_pairs="sentencepiece")
    calls = interleaved(
        {name: partial(call, ONE_SENTENCE) for name, call in single.items()}, rounds=50 * rounds, warmup=50
    )
    for name, seconds_of in calls.items():
        milliseconds = 1e3 * float(np.median(seconds_of))
        row = Row(f"{family}, one short sentence", name, milliseconds, milliseconds / MOST_MS, "x 1 ms", 1.0, "ms")
        rows.append(row)
    return rows


def signature_rows(family: str, data: Path, rounds: int) -> list[Row]:
    """Measures an exported classifier, asked with texts and with their ids."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, _ = xlm_tokenizers(data, folder)
        model = tfxlm.TFXLMForSequenceClassification(XLM.config_of(tfxlm, num_labels=3, lang2id=tokenizer.lang2id))
        loaded = tf.saved_model.load(str(tfxlm.export_model(model, tokenizer, Path(folder) / "model", lang=LANG)))
    lines = (data / "parallel" / "ntrex.eng.txt").read_text(encoding="utf-8").splitlines()
    parts = [
        lines[start : start + SIGNATURE_BATCH] for start in range(0, len(lines) - SIGNATURE_BATCH, SIGNATURE_BATCH)
    ]

    def ids_of(part: list[str]) -> dict[str, tf.Tensor]:
        batch = tokenizer(part, lang=LANG, padding=True, truncation=True, return_tensors="np")
        given = {
            "input_ids": batch["input_ids"],
            "langs": batch["langs"],
            "lengths": batch["attention_mask"].sum(axis=1),
        }
        return {name: tf.constant(value, tf.int32) for name, value in given.items()}

    ids = [ids_of(part) for part in parts]
    by_text = turns(lambda part: loaded.signatures["serving_default"](text=tf.constant(part))["scores"].numpy(), parts)
    by_ids = turns(lambda request: loaded.signatures["ids"](**request)["scores"].numpy(), ids)  # type: ignore[arg-type]
    seconds = interleaved({"texts": by_text, "ids": by_ids}, rounds=rounds)
    return rows_beside(f"{XLM.title}, {SIGNATURE_BATCH} sentences", seconds, "ids", {"texts": SIGNATURE_BOUND})


FAMILIES = {"xlm": xlm_tokenizers, "xlm-roberta": xlm_roberta_tokenizers}
PARTS = {**dict.fromkeys(FAMILIES, tokenization_rows), "signatures": signature_rows}


def rows_of(part: str, rounds: int) -> list[Row]:
    """Measures one part; no rows without the environment variable TFXLM_DATA."""
    data = os.environ.get("TFXLM_DATA")
    if not data:
        print(f"texts, {part}: skipped, set TFXLM_DATA to the folder with parallel/ntrex.eng.txt", file=sys.stderr)
        return []
    return PARTS[part](part, Path(data), rounds)
