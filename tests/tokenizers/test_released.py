"""The released fastBPE lists, and files made like them."""

import os
from pathlib import Path

import pytest

from tfxlm.errors import CheckpointNotFoundError, InputError, TokenizerError
from tfxlm.tokenizers import XLMTokenizer

needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")


def _lists(tmp_path: Path, codes: str, vocabulary: str) -> tuple[Path, Path]:
    (tmp_path / "codes").write_bytes(codes.encode())
    (tmp_path / "vocab").write_bytes(vocabulary.encode())
    return tmp_path / "codes", tmp_path / "vocab"


CODES = "t h 9\nth e</w> 8\n"
VOCABULARY = "the 9\nth@@ 7\n\x85 6\nbad\n 5\nx y 4\ne x\na 3\na 2\nb\u2028 1\n"


def test_made_lists(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer.from_fastbpe(*_lists(tmp_path, CODES, VOCABULARY))
    pieces = ["the</w>", "th", "\x85</w>", "a</w>", "b\u2028</w>"]  # malformed and repeated rows take no id
    assert tokenizer.convert_tokens_to_ids(pieces) == [14, 15, 16, 17, 18]
    assert (tokenizer.vocab_size, tokenizer.mask_token_id) == (19, 5)
    assert tokenizer("The tha")["input_ids"] == [0, 14, 15, 17, 1]


def test_a_model_with_fewer_rows(tmp_path: Path) -> None:
    lists = _lists(tmp_path, CODES, VOCABULARY)
    tokenizer = XLMTokenizer.from_fastbpe(*lists, vocab_size=16, lang2id={"en": 0})
    assert tokenizer("tha", lang="en", add_special_tokens=False).data == {
        "input_ids": [15, 3],
        "langs": [0, 0],
        "attention_mask": [1, 1],
    }
    with pytest.raises(InputError, match=r"vocab_size=20 does not fit .* has 5 pieces beside 14 special tokens"):
        XLMTokenizer.from_fastbpe(*lists, vocab_size=20)


def test_wrong_lists(tmp_path: Path) -> None:
    codes, vocabulary = _lists(tmp_path, CODES, VOCABULARY)
    with pytest.raises(TokenizerError, match=r"has no rows of a piece and its count. Pass the file named vocab_"):
        XLMTokenizer.from_fastbpe(vocabulary, codes)
    with pytest.raises(CheckpointNotFoundError, match="There is no file"):
        XLMTokenizer.from_fastbpe(codes, tmp_path / "nothing")


@needs_data
@pytest.mark.parametrize(
    ("name", "options", "size", "text", "tokens"),
    [
        ("ende", {"do_lowercase_and_remove_accent": False}, 64699, "Die Häuser", ["Die</w>", "Häuser</w>"]),
        ("xnli_15", {"case": "ascii", "accents": "strip", "vocab_size": 95000}, 95000, "In РОССИИ", None),
    ],
)
def test_released_lists(name: str, options: dict[str, object], size: int, text: str, tokens: list[str] | None) -> None:
    lists = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlm_cc_by_nc"
    tokenizer = XLMTokenizer.from_fastbpe(
        lists / f"codes_{name}", lists / f"vocab_{name}", preprocessing="fair", **options
    )
    assert len(tokenizer) == size
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert tokens is None or tokenizer.tokenize(text) == tokens
    ids = tokenizer("Россия", add_special_tokens=False)["input_ids"]
    if name == "xnli_15":  # lower-cased in ASCII only, so the capital is part of the word
        assert tokenizer.convert_ids_to_tokens(ids) == ["Россия</w>"]
