"""Tokens that are found as a whole, and the roles of special tokens."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tfxlm.errors import InputError, TokenizerError
from tfxlm.tokenizers import AddedToken, XLMTokenizer


def test_added_tokens(tokenizer: XLMTokenizer, tmp_path: Path) -> None:
    assert tokenizer.set_special_tokens(["__classify__", "<pad>"]) == 1
    assert tokenizer.add_tokens("Berlin") == 1
    entity = AddedToken("<ent>", lstrip=True, rstrip=True, special=True)
    assert tokenizer.add_tokens([entity, AddedToken("x1", single_word=True)]) == 2
    assert len(tokenizer) == tokenizer.vocab_size + 4
    assert tokenizer.get_added_vocab()["x1"] == len(tokenizer) - 1
    assert tokenizer.tokenize("the __classify__ BERLIN") == ["the</w>", "__classify__", "berlin"]
    assert tokenizer.tokenize("a <ent> b x1 ax1") == ["a</w>", "<ent>", "b</w>", "x1", "a", "x", "1</w>"]
    assert tokenizer.decode(tokenizer.encode("the Berlin <ent> the"), skip_special_tokens=True) == "the berlin the"
    tokenizer.save_pretrained(tmp_path / "saved")
    again = XLMTokenizer.from_pretrained(tmp_path / "saved")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert again.tokenize("a <ent> b x1 ax1 Berlin") == tokenizer.tokenize("a <ent> b x1 ax1 Berlin")


@pytest.mark.parametrize(
    "given",
    [
        AddedToken("<e>", rstrip=True),
        {"content": "<e>", "rstrip": True},
        tokenizers.AddedToken("<e>", rstrip=True),
        [tokenizers.AddedToken("<e>", rstrip=True)],
    ],
)
def test_forms_of_tokens(tokenizer: XLMTokenizer, given: Any) -> None:
    assert tokenizer.add_tokens(given) == 1
    index = len(tokenizer) - 1
    assert tokenizer.added_tokens_decoder[index] == AddedToken("<e>", rstrip=True, normalized=True, special=False)
    assert tokenizer.add_tokens(given, special_tokens=True) == 0  # its options are those it is given with last
    assert tokenizer.added_tokens_decoder[index].special
    assert tokenizer.add_tokens("<e>") == 0
    assert tokenizer.added_tokens_decoder[index].rstrip


@pytest.mark.parametrize("given", [5, {"lstrip": True}, [None], [["a"]]])
def test_no_tokens(tokenizer: XLMTokenizer, given: Any) -> None:
    with pytest.raises(TokenizerError, match="A new token should be a token's text or an object with its 'content'"):
        tokenizer.add_tokens(given)


@pytest.mark.parametrize(
    ("flags", "text", "tokens"),
    [
        ({}, "a<e>  b", ["a</w>", "<e>", "b</w>"]),
        ({"single_word": True}, "a<e> b", ["a</w>", "<</w>", "e</w>", "></w>", "b</w>"]),
        ({"single_word": True}, "a <e> <e>", ["a</w>", "<e>", "<e>"]),
        ({"normalized": False}, "<E>", ["<e>"]),
    ],
)
def test_options_of_tokens(tokenizer: XLMTokenizer, flags: dict[str, bool], text: str, tokens: list[str]) -> None:
    tokenizer.add_tokens([AddedToken("<e>", **flags)])
    assert tokenizer.tokenize(text) == tokens


def test_case_of_tokens(tokenizer: XLMTokenizer) -> None:
    tokenizer.add_tokens([AddedToken("<A>"), AddedToken("<B>", normalized=False), AddedToken("<C>", special=True)])
    assert tokenizer.tokenize("<A><C>") == ["<a>", "<C>"]
    # As in `transformers`: the text is lower-cased before anyone looks for a token with capitals.
    assert tokenizer.tokenize("<B>") == ["<</w>", "b</w>", "></w>"]


@pytest.mark.parametrize(
    ("flags", "places"),
    [
        ({}, ["a", "<e>", "b"]),
        ({"lstrip": True, "rstrip": True}, ["a", "<e>", "b"]),  # the white space is nobody's
    ],
)
def test_places_of_added_tokens(tokenizer: XLMTokenizer, flags: dict[str, bool], places: list[str]) -> None:
    tokenizer.add_tokens([AddedToken("<e>", **flags)])
    text = "a  <e>  b"
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert [text[start:end] for start, end in encoding["offset_mapping"]] == places
    assert encoding.word_ids() == [0, 1, 2]


def test_roles(tokenizer: XLMTokenizer, tmp_path: Path) -> None:
    before = tokenizer("the 中")["input_ids"]
    assert tokenizer.add_special_tokens({"sep_token": "[SEP]", "unk_token": "<special3>", "pad_token": "<pad>"}) == 1
    assert (tokenizer.sep_token, tokenizer.sep_token_id) == ("[SEP]", tokenizer.vocab_size)
    assert tokenizer("the 中")["input_ids"] == [*before[:-1], tokenizer.sep_token_id]
    assert tokenizer("ジ")["input_ids"] == [0, 7, tokenizer.sep_token_id]
    assert tokenizer.build_tlm_inputs([20], [21])["input_ids"].count(tokenizer.sep_token_id) == 4
    tokenizer.save_pretrained(tmp_path)
    assert XLMTokenizer.from_pretrained(tmp_path)("the 中 ジ") == tokenizer("the 中 ジ")


def test_further_special_tokens(tokenizer: XLMTokenizer) -> None:
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<a>"]}, False) == 1
    assert tokenizer.additional_special_tokens[0] == "<special0>"
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<b>", "<special2>"]}) == 1
    assert tokenizer.additional_special_tokens == ["<b>", "<special2>"]
    assert tokenizer.tokenize("<a><special0>") == ["<a>", "<special0>"]  # tokens still, though no special ones
    assert tokenizer.decode(tokenizer.encode("<a> <b> the"), skip_special_tokens=True) == "<a> the"


def test_no_such_role(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(InputError, match=r"There is no special token 'padding'. Choose from: bos_token, .*additional_"):
        tokenizer.add_special_tokens({"padding": "<pad>"})
    with pytest.raises(InputError, match="additional_special_tokens should be a list of tokens, but is a str"):
        tokenizer.add_special_tokens({"additional_special_tokens": "<a>"})
