"""Offsets, words and windows against fast tokenizers of `transformers` that cut as ours do.

XLM has none. On words of letters alone Moses' rules have nothing to do, so that lower-casing, removal of accents and
byte-pair encoding are all there is, which the `tokenizers` library can do as well. That of XLM-RoBERTa reads the file
that ours reads.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from tests.parity.reference import SWEEP
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tests.tokenizers.toy_pieces import unigram_content
from tfxlm.errors import InputError
from tfxlm.tokenizers import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.tokenizers.base import Tokenizer

LETTERS = "theorldwisngTHEORLDéÉüßжЖöñ"
words = st.text(LETTERS, min_size=1, max_size=6)
texts = st.lists(words, max_size=14).map(" ".join)
word_lists = st.lists(words, min_size=1, max_size=14)


def make_fast() -> transformers.PreTrainedTokenizerFast:
    """Frames, lower-cases and merges as our tokenizer does."""
    vocabulary = toy_vocabulary()
    # The library cannot build a merge of pieces that it does not know.
    known = [pair for pair in MERGES if {pair[0], pair[1], pair[0] + pair[1]} <= vocabulary.keys()]
    engine = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=known, unk_token="<unk>", end_of_word_suffix="</w>")
    )
    engine.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=engine, pad_token="<pad>", bos_token="<s>", sep_token="</s>", unk_token="<unk>"
    )


def make_pieces() -> tuple[Tokenizer, transformers.PreTrainedTokenizerFast]:
    """Reads one file with both. A space is never a piece of its own there: theirs gives it the place of a letter."""
    longer = {"▁the": -1.0, "orld": -2.0, "▁is": -2.5, "ing": -2.0, "ER": -3.0, "öñ": -3.5, "▁жЖ": -1.5}
    content = unigram_content(
        **dict.fromkeys(LETTERS, -6.0), **dict.fromkeys(map("▁{}".format, LETTERS), -7.0), **longer
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(json.dumps(content), encoding="utf-8")
        return XLMRobertaTokenizer(tokenizer_file=path), transformers.XLMRobertaTokenizerFast(tokenizer_file=str(path))


PEERS: dict[str, tuple[Tokenizer, transformers.PreTrainedTokenizerFast]] = {
    "merges": (XLMTokenizer(toy_vocabulary(), MERGES), make_fast()),
    "pieces": make_pieces(),
}
each_family = pytest.mark.parametrize("peers", PEERS.values(), ids=PEERS)
Peers = tuple[Tokenizer, transformers.PreTrainedTokenizerFast]

COMMON: dict[str, Any] = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_token_type_ids": True,
}


def assert_equal(ours: Any, theirs: Any, batch: int) -> None:
    """Compares two encodings, and the answers of their methods."""
    assert {name: list(value) for name, value in ours.items()} == {name: list(theirs[name]) for name in ours}
    for row in range(batch):
        length = len(theirs["input_ids"][row])
        for method in ("tokens", "word_ids", "sequence_ids"):
            assert getattr(ours, method)(row) == getattr(theirs, method)(row), method
        for token in range(length):
            for method in ("token_to_sequence", "token_to_word", "token_to_chars"):
                assert getattr(ours, method)(row, token) == getattr(theirs, method)(row, token), method
        # Asked for a second text that there is not, the library answers about the first one.
        for sequence in {*theirs.sequence_ids(row)} - {None}:
            for index in range(20):
                for method in ("char_to_token", "char_to_word", "word_to_tokens"):
                    found = getattr(ours, method)(row, index, sequence_index=sequence)
                    assert found == getattr(theirs, method)(row, index, sequence_index=sequence), (method, index)
                if ours.word_to_tokens(row, index, sequence_index=sequence):
                    expected = theirs.word_to_chars(row, index, sequence_index=sequence)
                    assert ours.word_to_chars(row, index, sequence_index=sequence) == expected


@each_family
@settings(max_examples=2000 if SWEEP else 100, deadline=None)
@given(rows=st.lists(texts, min_size=1, max_size=3), padding=st.booleans(), side=st.sampled_from(["right", "left"]))
def test_texts(peers: Peers, rows: list[str], padding: bool, side: str) -> None:
    tokenizer, fast = peers
    ours = tokenizer(rows, padding=padding, padding_side=side, **COMMON)
    assert_equal(ours, fast(rows, padding=padding, padding_side=side, **COMMON), len(rows))
    # What is found out later is the same as what was asked for at once.
    assert_equal(tokenizer(rows, padding=padding, padding_side=side), fast(rows, padding=padding, padding_side=side), 1)


@each_family
@settings(max_examples=2000 if SWEEP else 100, deadline=None)
@given(rows=st.lists(st.tuples(word_lists, word_lists), min_size=1, max_size=3), pair=st.booleans())
def test_texts_given_as_words(peers: Peers, rows: list[tuple[list[str], list[str]]], pair: bool) -> None:
    tokenizer, fast = peers
    first, second = (list(column) for column in zip(*rows, strict=True))
    arguments: tuple[Any, ...] = (first, second) if pair else (first,)
    options = COMMON | {"is_split_into_words": True, "padding": True}
    assert_equal(tokenizer(*arguments, **options), fast(*arguments, **options), len(rows))
    single = [argument[0] for argument in arguments]
    ours, theirs = tokenizer(*single, is_split_into_words=True), fast(*single, is_split_into_words=True)
    assert (ours["input_ids"], ours.word_ids()) == (theirs["input_ids"], theirs.word_ids())


@each_family
@settings(max_examples=5000 if SWEEP else 120, deadline=None)
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
    pair=st.booleans(),
    strategy=st.sampled_from(["longest_first", "only_first", "only_second"]),
    max_length=st.integers(3, 24),
    stride=st.integers(0, 6),
    side=st.sampled_from(["right", "left"]),
    as_words=st.booleans(),
)
def test_windows(
    peers: Peers,
    rows: list[tuple[Any, Any]],
    pair: bool,
    strategy: str,
    max_length: int,
    stride: int,
    side: str,
    as_words: bool,
) -> None:
    tokenizer, fast = peers
    assume(pair or strategy != "only_second")
    first, second = (list(column) for column in zip(*rows, strict=True))
    if as_words:
        first, second = ([text.split() or ["the"] for text in column] for column in (first, second))
    arguments: tuple[Any, ...] = (first, second) if pair else (first,)
    options: dict[str, Any] = COMMON | {
        "is_split_into_words": as_words,
        "truncation": strategy,
        "max_length": max_length,
        "stride": stride,
        "return_overflowing_tokens": True,
        "padding": True,
        # The library gives further windows segments of their own, whatever the file says.
        "return_token_type_ids": isinstance(tokenizer, XLMTokenizer),
    }
    tokenizer.truncation_side = fast.truncation_side = side
    try:
        ours = tokenizer(*arguments, **options)
    except InputError:
        assume(False)  # no room, or a stride that is too large: an exception of the library's own there
    if pair and strategy == "longest_first":
        # Where both texts are cut to an odd number of tokens, the fast tokenizers give the spare one to the longer
        # text, the slow ones, and ours, to the first.
        plain = tokenizer(first, second, add_special_tokens=False, is_split_into_words=as_words)["input_ids"]
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        assume(room % 2 == 0 or all(len(row) <= room for row in plain))
    theirs = fast(*arguments, **options)
    assert_equal(ours, theirs, len(theirs["input_ids"]))


@each_family
def test_one_text_gives_a_batch_of_windows(peers: Peers) -> None:
    tokenizer, fast = peers
    options: dict[str, Any] = COMMON | {"truncation": True, "max_length": 6, "stride": 1}
    options["return_overflowing_tokens"] = True
    assert_equal(tokenizer("hello world the er the", **options), fast("hello world the er the", **options), 2)


@each_family
@pytest.mark.parametrize("stride", [3, 4])
def test_both_refuse_windows_that_do_not_move_on(peers: Peers, stride: int) -> None:
    tokenizer, fast = peers
    options: dict[str, Any] = {"truncation": True, "max_length": 5, "stride": stride, "return_overflowing_tokens": True}
    with pytest.raises(InputError, match=f"stride={stride} is too large"):
        tokenizer("the the the the the", **options)
    with pytest.raises(BaseException, match="stride"):
        fast("the the the the the", **options)
