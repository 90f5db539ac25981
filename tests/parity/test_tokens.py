"""Token ids against the XLM tokenizer of `transformers`, live."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings

from tests.parity.reference import SWEEP
from tests.tokenizers.toy import hard_texts, write_toy
from tfxlm.tokenizers import XLMTokenizer

DATA = Path(os.environ.get("TFXLM_DATA", ""))
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")

NTREX = {"en": "eng", "de": "deu", "fr": "fra", "ru": "rus", "ar": "arb", "sw": "swa"}
# Languages with rules, prefixes or character classes of their own, and some with none.
RULE_LANGUAGES = ["en", "de", "fr", "es", "it", "cs", "ro", "ko", "fi", "ru", "ta", "el", "sw"]


class Reference(transformers.XLMTokenizer):
    """`transformers`' tokenizer with the language honoured: its lower-casing first, then `_tokenize(lang=...)`."""

    rules_language = "en"

    def _tokenize(self, text: str, lang: str = "en", bypass_tokenizer: bool = False) -> list[str]:
        return super()._tokenize(text, lang=self.rules_language, bypass_tokenizer=bypass_tokenizer)


def _reference(folder: Path, lang: str) -> transformers.XLMTokenizer:
    tokenizer = Reference.from_pretrained(folder)
    tokenizer.rules_language = lang
    return tokenizer


@pytest.fixture(scope="module", params=["ende", "xnli_15"])
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    lists = DATA / "vocab" / "xlm_cc_by_nc"
    made: dict[bool, Path] = {}

    def folder(lower: bool) -> Path:
        if lower not in made:
            made[lower] = tmp_path_factory.mktemp(f"{request.param}_{lower}")
            XLMTokenizer.from_fastbpe(
                lists / f"codes_{request.param}",
                lists / f"vocab_{request.param}",
                do_lowercase_and_remove_accent=lower,
            ).save_pretrained(made[lower])
        return made[lower]

    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["lower-cased", "cased"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), do_lowercase_and_remove_accent=request.param)


def _assert_same(ours: XLMTokenizer, lines: list[str], lang: str, reference: transformers.XLMTokenizer) -> None:
    found = ours(lines, lang=lang)["input_ids"]
    different = [line for line, ids in zip(lines, found, strict=True) if ids != reference(line)["input_ids"]]
    assert not different, f"{len(different)} of {len(lines)} differ, first: {different[0]!r}"


@needs_data
@pytest.mark.parametrize("lang", NTREX)
@pytest.mark.parametrize("lower", [True, False], ids=["lower-cased", "cased"])
def test_ids_of_news_lines(released: Callable[[bool], Path], lang: str, lower: bool) -> None:
    lines = (DATA / "parallel" / f"ntrex.{NTREX[lang]}.txt").read_text(encoding="utf-8").split("\n")
    lines = lines if SWEEP else lines[:: 3 if lower else 9]
    plain = transformers.XLMTokenizer.from_pretrained(released(lower))
    reference = plain if lang == "en" else _reference(released(lower), lang)
    _assert_same(XLMTokenizer.from_pretrained(released(lower)), lines, lang, reference)


@needs_data
@pytest.mark.parametrize("lang", ["de", "fr"])
def test_ids_of_short_sentences(released: Callable[[bool], Path], lang: str) -> None:
    path = DATA / "parallel" / f"tatoeba_anki.en-{lang}.full.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        rows = [row.rstrip("\n").split("\t") for row in file]
    rows = rows if SWEEP else rows[::300]
    ours = XLMTokenizer.from_pretrained(released(True))
    plain = transformers.XLMTokenizer.from_pretrained(released(True))
    _assert_same(ours, [row[0] for row in rows], "en", plain)
    _assert_same(ours, [row[1] for row in rows], lang, _reference(released(True), lang))


@settings(max_examples=1000 if SWEEP else 60, deadline=None)
@given(text=hard_texts)
def test_tokens_of_hard_texts_by_language(toy: Path, text: str) -> None:
    ours, theirs = _cached(toy)
    for lang in RULE_LANGUAGES:
        assert ours.tokenize(text, lang=lang) == theirs[lang].tokenize(text), lang


_made: dict[Path, tuple[XLMTokenizer, dict[str, Any]]] = {}


def _cached(folder: Path) -> tuple[XLMTokenizer, dict[str, Any]]:
    if folder not in _made:
        theirs = {lang: _reference(folder, lang) for lang in RULE_LANGUAGES}
        theirs["plain"] = transformers.XLMTokenizer.from_pretrained(folder)
        _made[folder] = XLMTokenizer.from_pretrained(folder), theirs
    return _made[folder]


@pytest.mark.parametrize("text", ["Hello World's , end", "été\xa0 the\n x", "<s> The</s>"])
def test_bypass(toy: Path, text: str) -> None:
    ours, theirs = _cached(toy)
    expected = theirs["plain"]._tokenize(text, bypass_tokenizer=True)
    assert ours.tokenize(text, bypass_tokenizer=True, split_special_tokens=True) == expected


def test_added_tokens_and_files_both_ways(tmp_path: Path, toy: Path) -> None:
    ours = XLMTokenizer.from_pretrained(toy, lang2id={"de": 0, "en": 1})
    ours.set_special_tokens(["__classify__"])
    ours.add_tokens(["WorldWide"])
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.XLMTokenizer.from_pretrained(tmp_path / "ours")
    assert (theirs.lang2id, len(theirs), theirs.model_max_length) == ({"de": 0, "en": 1}, len(ours), 512)
    assert theirs.all_special_tokens == ours.all_special_tokens
    text = "Hello __classify__ the worldwide WorldWide <special2>"
    assert theirs(text)["input_ids"] == ours(text)["input_ids"]
    assert theirs.decode(theirs.encode(text)) == ours.decode(ours.encode(text))

    theirs.add_tokens(["again"])
    theirs.save_pretrained(tmp_path / "theirs")
    back = XLMTokenizer.from_pretrained(tmp_path / "theirs")
    assert back.get_vocab() == theirs.get_vocab()
    assert (back.lang2id, back.id2lang, back.all_special_ids) == (
        theirs.lang2id,
        {0: "de", 1: "en"},
        theirs.all_special_ids,
    )
    assert back("Again, " + text)["input_ids"] == theirs("Again, " + text)["input_ids"]
