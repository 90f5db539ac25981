"""The graph gives the ids of the Python tokenizer, whatever the text and the language."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.in_graph.support import SWEEP, batches, differences, lines_of_data, needs_data, pieces_of
from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.tokenizers.in_graph import graph_tokenizer

LANGUAGES = ("en", "de", "fr", "es", "it", "ro", "ko", "ru", "ar", "cs", "fi", "sw")
# By name: how letters are treated, and when.
MODES: dict[str, dict[str, Any]] = {
    "hf": {},
    "hf, cased": {"do_lowercase_and_remove_accent": False},
    "fair, ASCII": {"preprocessing": "fair", "case": "ascii", "accents": "strip"},
    "fair, Unicode": {"preprocessing": "fair", "case": "unicode", "accents": "keep"},
}
# Tried with real text in every run: the others differ from one of these in how letters are treated.
TRIED = ("hf", "fair, ASCII")
MANY = st.lists(st.tuples(hard_texts, st.sampled_from(LANGUAGES)), min_size=1, max_size=1024 if SWEEP else 40)


class Compared:
    """A tokenizer and its graph, made once."""

    def __init__(self, tokenizer: Any, codes: tuple[str, ...] = LANGUAGES) -> None:
        self.tokenizer, self.codes = tokenizer, codes
        self.run = pieces_of(graph_tokenizer(tokenizer))

    def check(self, texts: list[bytes], langs: list[str] | None = None) -> None:
        langs = langs or [self.codes[index % len(self.codes)] for index in range(len(texts))]
        assert differences(self.tokenizer, self.run, texts, langs) == []


@pytest.fixture(scope="module", params=MODES)
def toy(request: pytest.FixtureRequest) -> Compared:
    ids = {code: index for index, code in enumerate(LANGUAGES)}
    return Compared(XLMTokenizer(toy_vocabulary(), MERGES, lang2id=ids, **MODES[request.param]))


@pytest.fixture(scope="module")
def toy_roberta() -> Compared:
    return Compared(XLMRobertaTokenizer(trained()))


@settings(max_examples=400 if SWEEP else 40, deadline=None)
@given(rows=MANY)
def test_hard_texts(toy: Compared, rows: list[tuple[str, str]]) -> None:
    texts = [text.encode(errors="replace") for text, _ in rows]
    toy.check(texts, [lang for _, lang in rows])


@settings(max_examples=400 if SWEEP else 40, deadline=None)
@given(rows=MANY)
def test_hard_texts_in_sentence_pieces(toy_roberta: Compared, rows: list[tuple[str, str]]) -> None:
    toy_roberta.check([text.encode(errors="replace") for text, _ in rows])


@settings(max_examples=400 if SWEEP else 40, deadline=None)
@given(texts=st.lists(st.binary(max_size=40), min_size=1, max_size=40))
def test_bytes_that_are_no_utf8(toy: Compared, texts: list[bytes]) -> None:
    toy.check([*texts, b"\xed\xa0\x80x", b"\xc0\x80", b"\xf4\x90\x80\x80", b"the\xe2\x82"])


def test_by_hand(toy: Compared, toy_roberta: Compared) -> None:
    """What is easily got wrong: empty rows, overlapping merges, sigmas, special tokens, very long words."""
    texts = [
        "",
        " \t ",
        "hello" * 1000,
        "ö" * 3000,
        "aaaa aaa aa a",
        "ΣΣΣ ΑΣ ΑΣ. ΑΣΑ 'Σ ΑΣ'",
        "<s> hello </s> <special1><pad>",
        "İstanbul ǅ K Å 각",
        "Mr. No. 7 No. x U.S.A. e.g. hello.' a. b",
        "\ue000\ue000 .. ... ....",
    ]
    for compared in (toy, toy_roberta):
        compared.check([text.encode() for text in texts])
        for text in texts:
            compared.check([text.encode()])
        compared.check([])


def test_long_runs_of_a_merge_take_few_rounds() -> None:
    """ "aaaa" becomes two pieces at once, so that a request of one letter does not hold up all others."""
    merges = [("a", "a"), ("aa", "aa"), ("aaaa", "aaaa")]
    pieces = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10)), "a", "a</w>"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *(a + b for a, b in merges)])}
    compared = Compared(XLMTokenizer(vocabulary, merges, lang2id={"en": 0}), ("en",))
    compared.check([("a" * size).encode() for size in (1, 2, 3, 7, 8, 9, 1000, 100_000)])


def test_all_merges_at_once_as_in_the_definition() -> None:
    """Merges whose parts come later, which one merge at a time would cut otherwise."""
    merges = [("ab", "c</w>"), ("a", "a"), ("aa", "aa"), ("b", "c</w>"), ("a", "b")]
    pieces = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10)), "a", "b", "c", "a</w>"]
    # Half of a surrogate pair is in no text, but may be in a vocabulary.
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *(a + b for a, b in merges), "\ud800</w>"])}
    compared = Compared(XLMTokenizer(vocabulary, merges, lang2id={"en": 0}), ("en",))
    words = ["abc", "aabc", "aaaaaabc", "aaa", "aaaa", "aaaaaaa", "aabaabc", "cab"]
    compared.check([" ".join(words).encode(), *(word.encode() for word in words)])


@needs_data
@pytest.mark.parametrize("mode", MODES if SWEEP else TRIED)
def test_all_text_there_is(mode: str) -> None:
    """Real text in all languages there are, each by the rules of some language, with the released pieces."""
    lists = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlm_cc_by_nc"
    ids = {code: index for index, code in enumerate(LANGUAGES)}
    tokenizer = XLMTokenizer.from_fastbpe(lists / "codes_xnli_15", lists / "vocab_xnli_15", lang2id=ids, **MODES[mode])
    compared, texts = Compared(tokenizer), list(lines_of_data())
    for batch in batches(texts if SWEEP else texts[::400]):
        compared.check(batch)


@needs_data
def test_all_text_there_is_in_sentence_pieces() -> None:
    pieces = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlmr_sentencepiece_rebuilt.model"
    compared, texts = Compared(XLMRobertaTokenizer(pieces)), list(lines_of_data())
    for batch in batches(texts if SWEEP else texts[::400]):
        compared.check(batch)


@needs_data
# Spaces that PyThaiNLP gives as words become unknown tokens of a cased tokenizer, and cannot be told in a text.
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "hf, cased"] if SWEEP else TRIED)
@pytest.mark.parametrize(("lang", "name"), [("zh", "zho-CN"), ("th", "tha")])
def test_texts_that_other_programs_cut(lang: str, name: str, mode: str) -> None:
    path = Path(os.environ["TFXLM_DATA"]) / "parallel" / f"ntrex.{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()[:: 1 if SWEEP else 20]
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={lang: 0, "en": 1}, **MODES[mode])
    run = pieces_of(graph_tokenizer(tokenizer))
    langs = [lang] * len(lines)
    found = run([tokenizer.cut_words(line, lang).encode() for line in lines], langs)
    expected = [
        tokenizer(line, lang=lang, split_special_tokens=True, add_special_tokens=False)["input_ids"] for line in lines
    ]
    assert found == expected
    # All but short ones, which could be words.
    refused = [line for line in lines if _is_refused(run, line, lang)]
    assert len(refused) >= 0.8 * len(lines)


def _is_refused(run: Any, line: str, lang: str) -> bool:
    try:
        run([line.encode()], [lang])
    except tf.errors.InvalidArgumentError as error:
        assert "must come with spaces between its words" in str(error)
        return True
    return False
