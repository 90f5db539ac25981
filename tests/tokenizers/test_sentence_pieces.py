"""SentencePiece models: where pieces stand in a text, and what is no such model."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.offsets import check_places
from tests.tokenizers.toy import hard_texts
from tests.tokenizers.toy_pieces import trained
from tfxlm.errors import CheckpointNotFoundError, TFXLMError, TokenizerError
from tfxlm.tokenizers import XLMRobertaTokenizer
from tfxlm.tokenizers.sentence_pieces import SentencePieces, word_indices

DATA = Path(os.environ.get("TFXLM_DATA", ""))
SWEEP = os.environ.get("TFXLM_SWEEP", "") not in ("", "0")
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")

OPTIONS: dict[str, dict[str, Any]] = {
    "unigram": {},
    "pairs": {"model_type": "bpe"},
    "spaces behind": {"treat_whitespace_as_suffix": True},
    "all spaces": {"remove_extra_whitespaces": False},
    "several words": {"split_by_whitespace": False},
    "no prefix": {"add_dummy_prefix": False},
    "letter case": {"normalization_rule_name": "nfkc_cf"},
    "as it is": {"normalization_rule_name": "identity"},
}
TOKENIZERS = {name: XLMRobertaTokenizer(trained(**options)) for name, options in OPTIONS.items()}
# Some characters vanish and some become several, in the middle of what others become.
PARTS = ["½", "㎏", "…", "ﬁ", "¨", "é", "e\u0301", "한", "ᄒ", "ᅡ", "ᆫ", "\u0301", "\u200d", "\x01", "\xad", "\ud800"]
mixed = st.lists(st.sampled_from([*PARTS, *"xk g1▁\u3000", "<mask>", "👩"]), max_size=14).map("".join)


@settings(max_examples=5000 if SWEEP else 200, deadline=None)
@given(text=mixed | hard_texts)
def test_places_of_hard_texts(text: str) -> None:
    for tokenizer in TOKENIZERS.values():
        check_places(tokenizer, text)


def spans(tokenizer: XLMRobertaTokenizer, text: str) -> str:
    """Writes each token with the characters that it stands for, and a | between words."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    written: list[str] = []
    words = encoding.word_ids()
    for index, (token, (start, end)) in enumerate(zip(encoding.tokens(), encoding["offset_mapping"], strict=True)):
        if index and words[index] != words[index - 1]:
            written.append("|")
        written.append(f"{token.replace('▁', '_')}={text[start:end]}")
    return " ".join(written)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the world", "_the=the | _world=world"),
        ("  the \t\u3000world ", "_the=the | _world=world"),
        ("", ""),
        (" \n\u200b\x01", ""),
        ("…", "_= .=… .=… .=…"),  # one character became three, which share it
        ("é e\u0301", "_= é=é | _= é=e\u0301"),  # two characters became one
        ("a\x01\u200c", "_a=a"),  # what vanishes is in no token
        ("t\x01s", "_= t=t s=s"),
        ("世界 日", "_= 世界=世界 | _= <unk>=日"),
        ("the<mask> \x01the", "_the=the | <mask>=<mask> | _the=the"),
        ("the <mask>the", "_the=the | <mask>=<mask> | _the=the"),
        ("xⅷ", "_= <unk>=xⅷ i=ⅷ i=ⅷ i=ⅷ"),
    ],
)
def test_hand_checked(text: str, expected: str) -> None:
    assert spans(TOKENIZERS["unigram"], text) == expected


def test_bytes_of_a_character_share_it() -> None:
    tokenizer = XLMRobertaTokenizer(trained(vocab_size=600, byte_fallback=True))
    expected = "_= <0xE9>=鬱 <0xAC>=鬱 <0xB1>=鬱 <0xF0>=🚀 <0x9F>=🚀 <0x9A>=🚀 <0x80>=🚀 s=s"
    assert spans(tokenizer, "鬱🚀s") == expected
    assert tokenizer.tokenize("<0xE9>")[-1] == ">"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], []),
        (["▁a", "b", "▁c"], [0, 0, 1]),
        (["▁", "a", "▁", "b"], [0, 0, 1, 1]),
        (["a▁", "b", "c▁", "d"], [0, 1, 1, 2]),
        (["a", "▁b▁c", "d"], [0, 1, 1]),
    ],
)
def test_words(pieces: list[str], words: list[int]) -> None:
    assert word_indices(pieces) == words


@needs_data
@pytest.mark.parametrize("name", ["curated_toy", "google_test_model"])
def test_places_with_other_models(name: str) -> None:
    tokenizer = XLMRobertaTokenizer(DATA / "vocab" / f"{name}.model")
    for language in ("eng", "zho-CN", "tha"):
        lines = (DATA / "parallel" / f"ntrex.{language}.txt").read_text(encoding="utf-8").split("\n")
        for line in lines if SWEEP else lines[::50]:
            check_places(tokenizer, line)


def test_copies() -> None:
    model = SentencePieces(trained(), {"enable_sampling": True, "nbest_size": -1, "alpha": 0.5}, "The model")
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.model, copy.sampling, copy.names) == (model.model, model.sampling, model.names)
    assert "".join(copy.pieces("the world")) == "▁the▁world"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        (b"<!doctype html><html></html>", "is an HTML page"),
        (b"PK\x03\x04 something else entirely", "is not a SentencePiece model, or a damaged one .*Restore the file"),
        (trained()[:5000], "is not a SentencePiece model, or a damaged one"),
        (b'{"model": {}}', "is not a SentencePiece model, or a damaged one"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sentencepiece.bpe.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"'.*sentencepiece.bpe.model' {message}"):
        XLMRobertaTokenizer(path)
    with pytest.raises(TokenizerError, match=message):
        XLMRobertaTokenizer.from_pretrained(tmp_path)


def test_a_model_too_large_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.tokenizers.sentence_pieces.MAX_MODEL_BYTES", 10)
    (tmp_path / "a.model").write_bytes(trained())
    with pytest.raises(TokenizerError, match="is larger than 10 bytes: it is not the model of a tokenizer"):
        XLMRobertaTokenizer(tmp_path / "a.model")


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"There is no file '.*none.model'. Name the file that the"):
        XLMRobertaTokenizer(tmp_path / "none.model")
    with pytest.raises(CheckpointNotFoundError, match="There is no file"):
        XLMRobertaTokenizer(tmp_path)


def test_a_model_of_another_family() -> None:
    model = trained(pad_id=0, unk_id=1, bos_id=-1, eos_id=2)
    message = "The model begins with the pieces '<pad>', '<unk>', '</s>', but here models begin with '<unk>', '<s>'"
    with pytest.raises(TokenizerError, match=message):
        XLMRobertaTokenizer(model)


def test_damaged_models_are_refused_or_work(tmp_path: Path) -> None:
    """Some damage cannot be seen; then texts still have tokens, whatever they are."""
    rng = random.Random(0)
    for _ in range(300 if SWEEP else 40):
        damaged = bytearray(trained())
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            tokenizer = XLMRobertaTokenizer(bytes(damaged))
        except TFXLMError as error:
            assert str(error)
        else:
            assert tokenizer("the world ½", return_offsets_mapping=True)["input_ids"]
            tokenizer.save_pretrained(tmp_path)
