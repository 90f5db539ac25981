"""Where pieces stand in their texts: the graph says what the Python tokenizer says, whatever the text."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.in_graph.support import SWEEP, batches, lines_of_data, needs_data
from tests.tokenizers.in_graph.test_pieces import LANGUAGES, MANY, MODES, TRIED
from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.errors import InputError
from tfxlm.tokenizers.in_graph import graph_tokenizer

EXAMPLES = 400 if SWEEP else 10
_TEXTS = tf.TensorSpec([None], tf.string)


class Located:
    """A tokenizer and its graph, made once."""

    def __init__(self, tokenizer: Any, codes: Sequence[str] = LANGUAGES) -> None:
        self.tokenizer, self.codes = tokenizer, codes
        located = graph_tokenizer(tokenizer).located
        self.run = tf.function(located, input_signature=[_TEXTS, _TEXTS], autograph=False)

    def check(self, texts: list[bytes], langs: Sequence[str] | None = None) -> None:
        langs = langs or [self.codes[index % len(self.codes)] for index in range(len(texts))]
        found = self.run(tf.constant(texts, tf.string), tf.constant(langs, tf.string))
        for row, (text, lang) in enumerate(zip(texts, langs, strict=True)):
            pieces, words, starts, ends = (one[row].numpy().tolist() for one in found)
            expected = self.expected(text.decode(errors="replace"), lang)
            assert (pieces, words) == (expected["input_ids"], expected["word_ids"]), text
            assert list(zip(starts, ends, strict=True)) == expected["offset_mapping"], text

    def expected(self, text: str, lang: str) -> dict[str, Any]:
        options = {"split_special_tokens": True, "add_special_tokens": False, "return_offsets_mapping": True}
        encoding = self.tokenizer(text, lang=lang, verbose=False, **options)
        return {**encoding, "word_ids": encoding.word_ids()}


@functools.cache
def made(kind: str) -> Located:
    """A tokenizer by the name of its mode, or of the kind of its SentencePiece model."""
    if kind in MODES:
        ids = {code: index for index, code in enumerate(LANGUAGES)}
        return Located(XLMTokenizer(toy_vocabulary(), MERGES, lang2id=ids, **MODES[kind]))
    return Located(XLMRobertaTokenizer(trained(model_type=kind)))


@pytest.mark.parametrize("mode", MODES if SWEEP else TRIED)
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=MANY)
def test_hard_texts(mode: str, rows: list[tuple[str, str]]) -> None:
    made(mode).check([text.encode(errors="replace") for text, _ in rows], [lang for _, lang in rows])


# What normalisations join, part and leave out.
_NORMALISED = st.sampled_from(
    ["ﷺ", "e\u0301", "\u200b", "\u3000", "ﬁ", "①", "…", "한", "한", "\u0301", "㍿", "▁", "\x1f"]
)
_MIXED = st.lists(st.one_of(_NORMALISED, hard_texts), max_size=6).map("".join)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(texts=st.lists(_MIXED, min_size=1, max_size=40))
def test_hard_texts_in_sentence_pieces(kind: str, texts: list[str]) -> None:
    made(kind).check([text.encode(errors="replace") for text in texts])


@settings(max_examples=EXAMPLES, deadline=None)
@given(texts=st.lists(st.binary(max_size=40), min_size=1, max_size=40))
def test_bytes_that_are_no_utf8(texts: list[bytes]) -> None:
    made("hf").check(texts)


@pytest.mark.parametrize("kind", ["hf", "fair, ASCII", "unigram"])
def test_by_hand(kind: str) -> None:
    texts = [
        "",
        " \t ",
        "'''' '''\r'",
        "…x",
        "1\r\xa0\r2\xa03\xa0%",
        "e\u0301\u0301 \u0301",
        "İİ",
        "\xa0«\xa0a",
        "hello" * 50,
    ]
    made(kind).check([text.encode() for text in texts])
    made(kind).check([])


@settings(max_examples=EXAMPLES, deadline=None)
@given(texts=st.lists(hard_texts, min_size=1, max_size=40))
def test_texts_that_another_program_cut(texts: list[str]) -> None:
    """They come with spaces between words, and nothing cuts them again."""
    # What has characters that nothing parts is refused.
    chinese().check(
        [
            re.sub("[\u3040-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]", "", text).encode(errors="replace")
            for text in texts
        ]
    )


@functools.cache
def chinese() -> Located:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"zh": 0, "en": 1})
    tokenizer._words_by_language["zh"] = dataclasses.replace(tokenizer._words("zh", False), segment=None)
    return Located(tokenizer, ("zh",))


def test_words_that_come_from_rules_already() -> None:
    """Thai: what stands between spaces is a word, as it is."""
    graph = graph_tokenizer(XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"th": 0, "en": 1}))
    found = graph.located(tf.constant(["สวัส the  hello… th…"]), tf.constant(["th"]))
    spans = list(zip(*(one[0].numpy().tolist() for one in found[1:]), strict=True))
    thai = [(0, 0, 1), (0, 1, 3), (0, 3, 4)]  # a vowel sign goes with its consonant
    assert spans == [*thai, (1, 5, 8), (2, 10, 14), (2, 14, 15), (2, 15, 16), (3, 17, 19), (3, 19, 20)]


def test_pieces_that_have_no_places() -> None:
    graph = graph_tokenizer(XLMRobertaTokenizer(trained(user_defined_symbols="<x>")))
    with pytest.raises(
        InputError, match="no places in this graph: the SentencePiece model has pieces that are no plain"
    ):
        graph.located(tf.constant(["x"]))


@needs_data
@pytest.mark.parametrize("kind", ["hf", "unigram"])
def test_all_text_there_is(kind: str) -> None:
    texts = list(lines_of_data())
    for batch in batches(texts if SWEEP else texts[::4000]):
        made(kind).check([text.encode() for text in batch])
