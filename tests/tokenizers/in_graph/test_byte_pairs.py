"""Byte pairs merged by a SentencePiece model: the same pieces, and a refusal where they would not be."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.in_graph.support import SWEEP, lines_of_data, needs_data, pieces_of
from tests.tokenizers.in_graph.test_pieces import MANY, Compared
from tests.tokenizers.toy import MERGES, SPECIAL, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.errors import InputError
from tfxlm.tokenizers.bpe import BytePairEncoder
from tfxlm.tokenizers.in_graph import graph_tokenizer
from tfxlm.tokenizers.in_graph.bpe_pieces import SentencePieceEncoder

LANGUAGES = ("en", "de", "fr")


class ByPieces(Compared):
    """A tokenizer and its graph with a SentencePiece model."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, LANGUAGES)
        self.run = pieces_of(graph_tokenizer(tokenizer, byte_pairs="sentencepiece"))


@pytest.fixture(scope="module")
def toy() -> ByPieces:
    return ByPieces(XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"de": 1, "en": 0, "fr": 2}))


@settings(max_examples=400 if SWEEP else 20, deadline=None)
@given(rows=MANY)
def test_hard_texts(toy: ByPieces, rows: list[tuple[str, str]]) -> None:
    toy.check([text.encode(errors="replace") for text, _ in rows])


def test_by_hand(toy: ByPieces) -> None:
    """Words with and without unknown characters, side by side and alone; and very long ones."""
    texts = ["", "hello thehello 中文 q 中q q中 the", "中文", "thehello", "hello" * 4000, "qé" * 2000 + "中"]
    toy.check([text.encode() for text in texts])
    for text in texts:
        toy.check([text.encode()])
    toy.check([])


@settings(max_examples=200 if SWEEP else 20, deadline=None)
@given(words=st.lists(st.text("thelowrdin中 \u0301", min_size=1, max_size=12), min_size=1, max_size=20))
def test_sizes_of_pieces(toy: ByPieces, words: list[str]) -> None:
    words = [word.replace(" ", "") or "x" for word in words]
    encoder = toy.tokenizer.encoder
    ids, sizes = measured(encoder)(words)
    assert ids.to_list() == [encoder.encode([word]) for word in words]
    assert [tuple(row) for row in sizes.to_list()] == [encoder.sizes(word) for word in words]


_MEASURED: dict[int, Any] = {}


def measured(encoder: BytePairEncoder) -> Any:
    if id(encoder) not in _MEASURED:
        specs = [tf.TensorSpec([None], tf.string)]
        _MEASURED[id(encoder)] = tf.function(SentencePieceEncoder(encoder).measured, input_signature=specs)
    return lambda words: _MEASURED[id(encoder)](tf.constant(words))


@pytest.mark.parametrize(
    ("merges", "reason"),
    [
        ([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")], "several merges make 'abc'"),
        ([("b", "c"), ("a", "b"), ("ab", "c")], "'abc' is never made, as other merges of its letters come first"),
        ([("ab", "c"), ("a", "b")], "a merge outranks one that makes its parts"),
    ],
)
def test_merges_that_would_be_others(merges: list[tuple[str, str]], reason: str) -> None:
    """Each of these would be cut otherwise: only two symbols that make a known one are looked at there."""
    pieces = {piece: index for index, piece in enumerate([*SPECIAL, *"abc", *(a + b for a, b in merges)])}
    tokenizer = XLMTokenizer(pieces, merges, lang2id={"en": 0})
    with pytest.raises(
        InputError, match=f"^The merges of this tokenizer cannot be a SentencePiece model: {reason}.*core"
    ):
        graph_tokenizer(tokenizer, byte_pairs="sentencepiece")


def test_it_is_for_xlm() -> None:
    with pytest.raises(InputError, match="byte_pairs='sentencepiece' is for XLM: XLM-RoBERTa has no merges"):
        graph_tokenizer(XLMRobertaTokenizer(trained()), byte_pairs="sentencepiece")
    with pytest.raises(InputError, match="byte_pairs='some' is not a choice"):
        graph_tokenizer(XLMRobertaTokenizer(trained()), byte_pairs="some")


@needs_data
def test_released_merges() -> None:
    """Words of all languages with the released pieces, and long ones made of some."""
    lists = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlm_cc_by_nc"
    names = ("xnli_15", "ende") if SWEEP else ("xnli_15",)
    draw = random.Random(0)
    lines = list(lines_of_data())
    found = {word for line in (lines if SWEEP else lines[::200]) for word in line.lower().split()}
    words = sorted(found)
    words += ["".join(draw.choices(words, k=30)) for _ in range(100)]
    for name in names:
        encoder = XLMTokenizer.from_fastbpe(lists / f"codes_{name}", lists / f"vocab_{name}").encoder
        ids, sizes = measured(encoder)(words)
        for word, row, of_row in zip(words, ids.to_list(), sizes.to_list(), strict=True):
            assert (row, tuple(of_row)) == (encoder.encode([word]), encoder.sizes(word)), word
