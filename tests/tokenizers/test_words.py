"""Texts that come as words, and the way between tokens, words and characters."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tfxlm.errors import InputError
from tfxlm.tokenizers import BatchEncoding, XLMTokenizer
from tfxlm.tokenizers.lookups import CharSpan, TokenSpan

TOY = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"de": 0, "en": 1, "fr": 2})


@settings(max_examples=100, deadline=None)
@given(words=st.lists(hard_texts, max_size=5), lang=st.sampled_from(["de", "en", "fr"]))
def test_each_word_is_a_text_of_its_own(words: list[str], lang: str) -> None:
    encoding = TOY(words, lang=lang, is_split_into_words=True, return_offsets_mapping=True, add_special_tokens=False)
    alone = [TOY(word, lang=lang, add_special_tokens=False, return_offsets_mapping=True) for word in words]
    assert encoding["input_ids"] == [index for word in alone for index in word["input_ids"]]
    assert encoding["offset_mapping"] == [span for word in alone for span in word["offset_mapping"]]
    assert encoding.word_ids() == [index for index, word in enumerate(alone) for _ in word["input_ids"]]
    assert TOY(words, lang=lang, is_split_into_words=True).word_ids() == [None, *encoding.word_ids(), None]


def test_forms_of_words() -> None:
    single = TOY(["the", "Hello."], is_split_into_words=True)
    assert single.tokens() == ["<s>", "the</w>", "hello</w>", ".</w>", "</s>"]
    assert single.word_ids() == [None, 0, 1, 1, None]
    assert TOY.encode_plus(["the", "Hello."], is_split_into_words=True) == single
    batch = TOY([["the", "Hello."], []], is_split_into_words=True)
    assert batch["input_ids"] == [single["input_ids"], [0, 1]]
    pair = TOY(["the"], ["er", "er"], is_split_into_words=True, lang=("en", "de"))
    assert (pair.word_ids(), pair.sequence_ids()) == ([None, 0, None, 0, 1, None], [None, 0, None, 1, 1, None])
    assert pair["langs"] == [1, 1, 1, 0, 0, 0]
    for pairs in (([["the"]], [["er", "er"]]), ([(["the"], ["er", "er"])],)):
        assert TOY(*pairs, is_split_into_words=True)["input_ids"] == [pair["input_ids"]]
    assert TOY([], is_split_into_words=True)["input_ids"] == [0, 1]
    assert TOY(["The", "a b"], is_split_into_words=True, bypass_tokenizer=True).word_ids() == [
        None,
        0,
        0,
        0,
        1,
        1,
        None,
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("the",), "text should be a list of words or a list of list of words, but is a str. With is_split_into_words"),
        ((["the"], "er"), "text is one list of words, so text_pair should be one, too, but it is a str"),
        ((["the", 5],), "A text should be a str, but one is a int"),
        ((["the", ["er"]],), "A text should be a str, but one is a list"),
        (([["the"], "er"],), "A text should be a list of words, but one is a str"),
        (([["the"], [["er"]]],), "should be a pair of texts, but one has 1 items"),
    ],
)
def test_wrong_words(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TOY(*arguments, is_split_into_words=True)


def test_words_need_saying() -> None:
    with pytest.raises(InputError, match="cut into words already, pass is_split_into_words=True"):
        TOY([["the", "er", "er"]])


def test_lookups() -> None:
    text, other = "The world, 中", "er the"
    encoding = TOY([text, other], [other, text], padding=True)
    # <s> the world , 中 </s> er the </s>
    assert encoding.tokens()[:5] == ["<s>", "the</w>", "world</w>", ",</w>", "中</w>"]
    assert encoding.sequence_ids(1) == [None, 0, 0, None, 1, 1, 1, 1, None]
    assert encoding.word_ids(1) == [None, 0, 1, None, 0, 1, 2, 3, None]
    assert encoding.token_to_sequence(7) == 1
    assert encoding.token_to_word(0, -2) == 1
    assert encoding.token_to_chars(2) == CharSpan(4, 9)
    assert encoding.token_to_chars(1, 0) is None
    assert encoding.char_to_token(8) == 2
    assert encoding.char_to_token(3) is None
    assert encoding.char_to_token(1, 4, sequence_index=1) == 5
    assert encoding.char_to_word(0, 9) == 2
    assert encoding.char_to_word(0, 100) is None
    assert encoding.word_to_tokens(0, 1, sequence_index=1) == TokenSpan(7, 8)
    assert encoding.word_to_tokens(9) is None
    assert encoding.word_to_chars(1, 1) == CharSpan(3, 6)
    assert encoding.word_to_chars(0, 9) is None
    assert encoding.is_fast and TOY.is_fast


def test_words_of_a_text_are_numbered_through_added_tokens() -> None:
    assert TOY("the, <special1>er the").word_ids() == [None, 0, 1, 2, 3, 4, None]


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_know_the_same(clone: Any) -> None:
    encoding = clone(TOY("the, er", return_tensors="np"))
    assert encoding.word_ids() == [None, 0, 1, 2, None]
    assert TOY not in vars(encoding._details).values()
    assert len(pickle.dumps(encoding)) < 2000  # the tokenizer stays at home


def test_lookups_need_the_encoding_of_a_call() -> None:
    with pytest.raises(InputError, match=r"this one was put together otherwise. Keep the encoding of the call"):
        BatchEncoding({"input_ids": [1]}).word_ids()


def test_lookups_need_a_text() -> None:
    encoding = TOY.prepare_for_model([20, 21])
    with pytest.raises(InputError, match="Ids have no text, so there are no words and offsets"):
        encoding.word_ids()
    with pytest.raises(InputError, match="Ids have no text"):
        TOY.prepare_for_model([20], return_offsets_mapping=True)


def test_lookups_need_the_tokenizer_as_it_was() -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES)
    encoding = tokenizer("the new one")
    tokenizer.add_tokens("new")
    with pytest.raises(InputError, match="The tokenizer has 181 tokens, but had 180 when it made this encoding"):
        encoding.char_to_token(0)
