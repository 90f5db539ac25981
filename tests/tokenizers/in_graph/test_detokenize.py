"""From ids back to text in the graph, beside the Python tokenizers."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.in_graph.support import SWEEP, lines_of_data, needs_data
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm.tokenizers import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.tokenizers.in_graph import GraphDetokenizer

# Pieces that look like marks, or hold what is white space in Python alone.
ODD = ["\x1c", "\xa0", "\u3000</w>", "<", "/w>", "\ue000", "\\1", "n't</w>", "'</w>", "'s</w>", "'re</w>"]


def toy(**options: Any) -> XLMTokenizer:
    vocabulary = toy_vocabulary()
    for piece in ODD:
        vocabulary.setdefault(piece, len(vocabulary))
    return XLMTokenizer(vocabulary, MERGES, **options)


def with_added_tokens(tokenizer: Any) -> Any:
    """Adds tokens that are no special ones, and special ones behind the vocabulary."""
    tokenizer.add_tokens(["[NAME]", " a</w>▁b "])
    tokenizer.add_special_tokens({"additional_special_tokens": ["[END]"]})
    return tokenizer


TOKENIZERS = {
    "xlm": toy(),
    "xlm, cleaned": toy(clean_up_tokenization_spaces=True),
    "xlm, added": with_added_tokens(toy(clean_up_tokenization_spaces=True)),
    "xlm-roberta": XLMRobertaTokenizer(trained()),
    "xlm-roberta, added": with_added_tokens(XLMRobertaTokenizer(trained())),
}


def as_function(tokenizer: Any, **options: Any) -> Any:
    graph = GraphDetokenizer(tokenizer, **options)
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    run = tf.function(graph, input_signature=specs, autograph=False)
    return lambda ids, lengths: [text.decode() for text in run(tf.constant(ids, tf.int32), lengths).numpy()]


GRAPHS = {name: as_function(tokenizer) for name, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=2000 if SWEEP else 60, deadline=None)
@given(data=st.data())
def test_any_ids(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    beyond = len(tokenizer) + 2
    rows = data.draw(st.lists(st.lists(st.integers(0, beyond), max_size=12), min_size=1, max_size=5))
    width = max(map(len, rows))
    ids = np.full((len(rows), width), 20)
    for row, own in enumerate(rows):
        ids[row, : len(own)] = own
    expected = [tokenizer.decode(own, skip_special_tokens=True).encode(errors="replace").decode() for own in rows]
    assert GRAPHS[name](ids, np.array([len(own) for own in rows])) == expected


@needs_data
@pytest.mark.parametrize("family", ["xlm", "xlm-roberta"])
def test_real_text(family: str) -> None:
    data = Path(os.environ["TFXLM_DATA"])
    if family == "xlm":
        tokenizer: Any = XLMTokenizer.from_pretrained("examples/checkpoint")
    else:
        tokenizer = XLMRobertaTokenizer(data / "vocab" / "xlmr_sentencepiece_rebuilt.model")
    lines = sorted(set(lines_of_data()))
    lines = lines if SWEEP else random.Random(0).sample(lines, 1000)
    for clean_up in (False, True):
        run = as_function(tokenizer, clean_up_tokenization_spaces=clean_up)
        for start in range(0, len(lines), 500):
            batch = tokenizer(lines[start : start + 500], padding=True, return_tensors="np", verbose=False)
            ids = batch["input_ids"]
            options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": clean_up}
            expected = tokenizer.batch_decode(ids, **options)
            assert run(ids, np.full(len(ids), ids.shape[1])) == expected
