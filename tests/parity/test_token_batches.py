"""Batches, frames and decoding against the tokenizers of `transformers`, live."""

import string
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings

from tests.parity.reference import SWEEP
from tests.parity.token_families import both, folder, readable
from tests.tokenizers.toy import hard_texts

__all__ = ["folder"]


@settings(max_examples=3000 if SWEEP else 200, deadline=None)
@given(text=hard_texts)
def test_tokens_of_hard_texts(folder: Path, text: str) -> None:
    ours, theirs = both(folder)
    given_text = readable(theirs, text)
    assert ours.tokenize(text) == theirs.tokenize(given_text)
    assert ours(text)["input_ids"] == theirs(given_text)["input_ids"]
    assert ours.tokenize(text, split_special_tokens=True) == theirs.tokenize(given_text, split_special_tokens=True)


@pytest.mark.filterwarnings("ignore:A row has")
@pytest.mark.parametrize(
    "text", ["", " ", "x" * 3000, "helloworld" * 400, "." * 2000, "'" * 1001, string.printable, "the 😀" * 300]
)
def test_tokens_of_long_and_empty_texts(folder: Path, text: str) -> None:
    ours, theirs = both(folder)
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]


FIRST = ["Hello world, the singing world!", "the", "She is singing there and here."]
SECOND = ["The world.", "Hello hello hello the world of the singing ones", "er"]


# "only_second" without a second text is an error here, and nothing in `transformers`.
TRUNCATIONS = [(pair, name) for pair in (False, True) for name in (False, True, "longest_first", "only_first")]


@pytest.mark.parametrize(("pair", "truncation"), [*TRUNCATIONS, (True, "only_second")])
@pytest.mark.parametrize("padding", [False, True, "longest", "max_length", "do_not_pad"])
@pytest.mark.parametrize("max_length", [24, 35, 48])
@pytest.mark.parametrize("sides", [("right", "right"), ("left", "left")])
@pytest.mark.filterwarnings("ignore:`max_length` is ignored")
def test_batches(
    folder: Path, pair: bool, padding: Any, truncation: Any, max_length: int, sides: tuple[str, str]
) -> None:
    ours, theirs = both(folder)
    ours.padding_side, ours.truncation_side = theirs.padding_side, theirs.truncation_side = sides
    first, second = (FIRST, SECOND) if pair else (FIRST, None)
    if truncation == "only_first":
        first = [text + " and the longer the better it is for the one" for text in first]
        second = second and ["er", "the", "Hello."]
    if truncation == "only_second":
        first, second = ["the", "er", "hello"], [text + " and the longer the better it is" for text in FIRST]
    options: dict[str, Any] = {
        "padding": padding,
        "truncation": truncation,
        "max_length": max_length,
        "return_special_tokens_mask": True,
        "return_token_type_ids": True,
        "return_length": True,
    }
    assert dict(ours(first, second, **options)) == dict(theirs(first, second, **options))
    if pair:
        pairs = list(zip(first, second or [], strict=True))
        assert dict(ours(pairs, **options)) == dict(theirs(pairs, **options))


def test_single_texts_tensors_and_multiples(folder: Path) -> None:
    ours, theirs = both(folder)
    # `transformers` gives token types unasked, which XLM would look up in its word table.
    plain: dict[str, Any] = {"return_token_type_ids": False}
    assert dict(ours("Hello", "world")) == dict(theirs("Hello", "world", **plain))
    bare = plain | {"add_special_tokens": False}
    assert dict(ours("Hello", "world", **bare)) == dict(theirs("Hello", "world", **bare))
    assert ours.encode("Hello", "world") == theirs.encode("Hello", "world")
    for text in ("Hello", FIRST):
        found = ours(text, padding=True, pad_to_multiple_of=8, return_tensors="np")
        expected = theirs(text, padding=True, pad_to_multiple_of=8, return_tensors="np", **plain)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            assert found[name].tolist() == value.tolist()


def test_padding_of_encodings(folder: Path) -> None:
    ours, theirs = both(folder)
    rows = [dict(ours(text)) | {"label": 1} for text in FIRST]
    assert dict(ours.pad(rows)) == dict(theirs.pad(rows))
    single = dict(ours("the"))
    expected = theirs.pad(dict(single), padding="max_length", max_length=9)
    assert dict(ours.pad(single, padding="max_length", max_length=9)) == dict(expected)


@pytest.mark.parametrize("method", ["build_inputs_with_special_tokens", "get_special_tokens_mask"])
@pytest.mark.parametrize("arguments", [([20, 21],), ([20], [22, 23]), ([], [])])
def test_frames(folder: Path, method: str, arguments: tuple[list[int], ...]) -> None:
    ours, theirs = both(folder)
    assert getattr(ours, method)(*arguments) == getattr(theirs, method)(*arguments)
    types = theirs.create_token_type_ids_from_sequences(*arguments)
    assert ours.create_token_type_ids_from_sequences(*arguments) == types


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("clean", [None, False, True])
def test_decoding(folder: Path, skip: bool, clean: bool | None) -> None:
    ours, theirs = both(folder)
    rows = ours([*FIRST, "it's the 'end' , isn't it ? <special3> we 've", "", "中 <unk>"])["input_ids"]
    options: dict[str, Any] = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
    assert ours.batch_decode(rows, **options) == theirs.batch_decode(rows, **options)
    assert ours.decode(20, **options) == theirs.decode(20, **options)
    # Theirs of pieces raises for an id that there is not, the other one has the unknown token.
    ids = [1, 20] if isinstance(theirs, transformers.XLMRobertaTokenizer) else [1, 20, 10**6]
    assert ours.convert_ids_to_tokens(ids, skip) == theirs.convert_ids_to_tokens(ids, skip)
