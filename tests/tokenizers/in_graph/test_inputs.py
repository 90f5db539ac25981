"""Frames, truncation, padding and languages of graph tokenizers, beside a call of the Python tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tokenizers.in_graph.support import SWEEP
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.errors import InputError, LanguageError
from tfxlm.tokenizers.in_graph import graph_tokenizer

LANGUAGES = {"de": 1, "en": 0, "fr": 2}
TEXTS = ["Hello the singing world", "", "the", "hello there, hello and more of it, hello.", "l'été"]
PAIRS = ["hello", "the world of hello and then some more, hello!", "", "l'été", "the singing hello world"]
FIRST, SECOND = ["en", "fr", "de", "en", "fr"], ["de", "en", "en", "fr", "fr"]


def xlm(**options: Any) -> XLMTokenizer:
    # Korean is cut otherwise by its own rules.
    korean = {piece: 1000 + index for index, piece in enumerate(["한국어</w>", "한국"])}
    return XLMTokenizer(
        toy_vocabulary() | korean, [*MERGES, ("한", "국"), ("한국", "어</w>")], **({"lang2id": LANGUAGES} | options)
    )


def roberta(**options: Any) -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer(trained(), **options)


def check(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found.input_ids, expected["input_ids"])
    np.testing.assert_array_equal(found.lengths, expected["attention_mask"].sum(axis=1))
    if "langs" in expected:
        np.testing.assert_array_equal(found.langs, expected["langs"])
    else:
        assert found.langs is None


# Both forms of XLM's tokenizer have the same frames: in every run, each of these with one of them.
TRIED = [
    (preprocessing, side, truncation)
    for preprocessing in ("hf", "fair", "XLM-RoBERTa")
    for side in ("right", "left")
    for index, truncation in enumerate(("longest_first", "only_first", "only_second", "do_not_truncate"))
    if SWEEP or preprocessing == "XLM-RoBERTa" or (preprocessing == "hf") == ((index + (side == "left")) % 2 == 0)
]


@pytest.mark.parametrize(("preprocessing", "side", "truncation"), TRIED)
def test_pairs(preprocessing: str, side: str, truncation: str) -> None:
    is_roberta = preprocessing == "XLM-RoBERTa"
    tokenizer: Any = (
        roberta(truncation_side=side) if is_roberta else xlm(preprocessing=preprocessing, truncation_side=side)
    )
    texts, pairs = TEXTS, PAIRS
    # What is cut off one text is in it.
    if truncation == "only_first":
        texts, pairs = [text + " hello" * 20 for text in TEXTS], ["the"] * 5
    elif truncation == "only_second":
        texts, pairs = ["the"] * 5, [text + " hello" * 20 for text in PAIRS]
    graph = graph_tokenizer(tokenizer, max_length=16, truncation=truncation)
    options = {"split_special_tokens": True, "padding": True, "return_tensors": "np"}
    options |= {"truncation": truncation, "max_length": 16}
    expected = tokenizer(texts, pairs, lang=list(zip(FIRST, SECOND, strict=True)), **options)
    assert (expected["input_ids"].shape[1] == 16) == (truncation != "do_not_truncate")
    first, second = tf.constant(FIRST), tf.constant(SECOND)
    check(graph(tf.constant(texts), tf.constant(pairs), first, second), expected)
    if truncation != "only_second":
        check(graph(tf.constant(texts), lang=first), tokenizer(texts, lang=FIRST, **options))
    else:
        with pytest.raises(InputError, match="'only_second' needs a second text"):
            graph(tf.constant(texts), lang=first)


def test_what_is_cut_off_one_text_must_be_in_it() -> None:
    graph = graph_tokenizer(xlm(), max_length=12, truncation="only_first")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"more than max_length=12 tokens even without its first"):
        graph(tf.constant(TEXTS), tf.constant(PAIRS), tf.constant(FIRST), tf.constant(SECOND))


def test_lengths_come_from_the_tokenizer_or_from_buckets() -> None:
    tokenizer, long = xlm(model_max_length=12), "hello " * 30
    graph = graph_tokenizer(tokenizer, lang="en")
    assert graph(tf.constant([long, "the"])).input_ids.shape == (2, 12)
    buckets = graph_tokenizer(tokenizer, lang="en", length_buckets=(4, 8, 12))
    for text, length in (("the", 4), ("hello hello hello", 8), (long, 12)):
        found = buckets(tf.constant([text]))
        expected = tokenizer(
            [text], padding="max_length", max_length=length, truncation=True, return_tensors="np", lang="en"
        )
        check(found, expected)
    assert graph_tokenizer(xlm(), lang="en")(tf.constant([long])).input_ids.shape == (1, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_buckets": (8, 4)}, "different lengths, ascending"),
        ({"length_buckets": (), "max_length": 8}, "different lengths, ascending"),
        ({"length_buckets": (4, 8)}, "up to any number of tokens, but the last of length_buckets is 8"),
        ({"length_buckets": (4, 8), "max_length": 9}, "up to 9 tokens, but the last of length_buckets is 8"),
        (
            {"length_buckets": (4, 8), "max_length": 8, "truncation": "do_not_truncate"},
            "up to any number of tokens, but the last of length_buckets is 8",
        ),
        ({"truncation": "some", "max_length": 9}, "truncation='some' is not a choice"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_tokenizer(xlm(), **options)


def test_rows_have_room_for_text() -> None:
    graph = graph_tokenizer(xlm(), lang="en", max_length=3)
    assert graph(tf.constant(["hello the"])).input_ids.shape == (1, 3)
    with pytest.raises(InputError, match="max_length=3 has no room for text beside 3 special tokens"):
        graph(tf.constant(["hello"]), tf.constant(["the"]))


def test_other_tokenizers_have_no_graph() -> None:
    with pytest.raises(InputError, match=r"dict has no form for graphs. There is one for XLMTokenizer"):
        graph_tokenizer({})
    with pytest.raises(InputError, match="in the best way, not at random"):
        graph_tokenizer(roberta(sp_model_kwargs={"enable_sampling": True, "nbest_size": -1, "alpha": 0.1}))
    with pytest.raises(InputError, match="padded on the right"):
        graph_tokenizer(xlm(padding_side="left"))


def test_languages() -> None:
    texts = tf.constant(["the", "hello"])
    graph = graph_tokenizer(xlm())
    with pytest.raises(LanguageError, match="Each text needs its language"):
        graph(texts)
    with pytest.raises(tf.errors.InvalidArgumentError, match="lang must be a language of the model: de, en, fr"):
        graph(texts, lang=tf.constant(["en", "xx"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many entries as text"):
        graph(texts, lang=tf.constant(["en"]))
    with pytest.raises(LanguageError, match=r"'xx' is unknown. Known languages: de, en, fr"):
        graph_tokenizer(xlm(), lang="xx")
    fixed = graph_tokenizer(xlm(), lang="fr")
    assert fixed(texts).langs.numpy().tolist() == [[2] * 3, [2] * 3]
    with pytest.raises(LanguageError, match="made for texts in 'fr': leave lang out"):
        fixed(texts, lang=tf.constant(["en", "en"]))


def test_a_tokenizer_without_languages_takes_any_code() -> None:
    tokenizer = xlm(lang2id=None)
    graph = graph_tokenizer(tokenizer)
    text, codes = "l'été «hello.» Nr. 5 the z.B. 한국어, a,\"", ["de", "fr", "xx", "", "ko", "en"]
    found = graph.piece_ids(tf.constant([text] * len(codes)), tf.constant(codes)).to_list()
    assert found == [tokenizer(text, lang=code, add_special_tokens=False)["input_ids"] for code in codes]
    assert graph.piece_ids(tf.constant([text])).to_list() == [tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_only_operations_that_servers_have() -> None:
    """XLM needs none but TensorFlow's own, XLM-RoBERTa those of TensorFlow Text, and no Python is called."""
    spec = tf.TensorSpec([None], tf.string)
    for tokenizer, own in ((xlm(), set()), (roberta(), {"TFText>FastSentencepieceTokenize"})):
        graph = graph_tokenizer(tokenizer)
        run = tf.function(graph.piece_ids, input_signature=[spec, spec], autograph=False)
        definition = run.get_concrete_function().graph.as_graph_def()
        nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
        operations = {node.op for node in nodes} - {function.signature.name for function in definition.library.function}
        assert {name for name in operations if "TFText" in name} == own
        assert not {name for name in operations if "PyFunc" in name}
