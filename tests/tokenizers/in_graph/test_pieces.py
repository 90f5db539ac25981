"""The graph gives the ids of the Python tokenizer, whatever the text and the language."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.in_graph.support import (
    SWEEP,
    batches,
    differences,
    expected_pieces,
    lines_of_data,
    needs_data,
    pieces_of,
    texts_of_data,
)
from tests.tokenizers.kytea import write_kytea_model
from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer, XLMTokenizer
from tfxlm.tokenizers.in_graph import graph_tokenizer
from tfxlm.tokenizers.in_graph.rows import rows_of_words
from tfxlm.tokenizers.segmenters import KYTEA_MODEL, SEGMENTERS

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
    compared = Compared(tokenizer)
    texts = [(text, lang) for text, lang in texts_of_data() if lang not in SEGMENTERS]
    for batch in batches(texts if SWEEP else texts[::1000]):
        compared.check([text.encode() for text, _ in batch], [lang for _, lang in batch])


@needs_data
def test_all_text_there_is_in_sentence_pieces() -> None:
    pieces = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlmr_sentencepiece_rebuilt.model"
    compared, texts = Compared(XLMRobertaTokenizer(pieces)), lines_of_data()
    for batch in batches(texts if SWEEP else texts[::1000]):
        compared.check([text.encode() for text in batch])


@pytest.fixture(scope="module")
def kytea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """KyTea with a model that the tests wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KYTEA_MODEL, str(write_kytea_model(tmp_path_factory.mktemp("kytea"))))
        yield


@needs_data
@pytest.mark.usefixtures("kytea")
@pytest.mark.parametrize("mode", MODES if SWEEP else TRIED)
@pytest.mark.parametrize("lang", SEGMENTERS)
def test_all_text_there_is_that_other_programs_cut(lang: str, mode: str) -> None:
    """With the released pieces, which have Chinese and Thai; of Japanese some are known, too."""
    if mode == "hf, cased" and lang != "zh":
        pytest.skip("spaces that KyTea and PyThaiNLP give as words are unknown tokens of it, which no text can tell")
    lists = Path(os.environ["TFXLM_DATA"]) / "vocab" / "xlm_cc_by_nc"
    ids = {lang: 0, "en": 1}
    tokenizer = XLMTokenizer.from_fastbpe(lists / "codes_xnli_15", lists / "vocab_xnli_15", lang2id=ids, **MODES[mode])
    run = pieces_of(graph_tokenizer(tokenizer))
    texts = [text for text, own in texts_of_data() if own == lang]
    if lang == "ja":
        # The model of the tests takes some sentences for one word.
        told = [text for text in texts if len(text) < 16 or len(tokenizer.cut_words(text, lang).split()) > 1]
        assert len(told) > 0.99 * len(texts)
        texts = told
    for batch in batches(texts if SWEEP else texts[::100]):
        cut = [tokenizer.cut_words(text, lang).encode() for text in batch]
        expected = expected_pieces(tokenizer, [text.encode() for text in batch], [lang] * len(batch))
        rows = zip(batch, cut, run(cut, [lang] * len(batch)), expected, strict=True)
        assert [row for row in rows if row[2] != row[3]] == []


@needs_data
@pytest.mark.parametrize(("lang", "name"), [("zh", "zho-CN"), ("ja", "jpn"), ("th", "tha")])
def test_texts_that_nobody_cut_are_refused(lang: str, name: str) -> None:
    path = Path(os.environ["TFXLM_DATA"]) / "parallel" / f"ntrex.{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()[:: 1 if SWEEP else 20]
    run = pieces_of(graph_tokenizer(XLMTokenizer(toy_vocabulary(), MERGES, lang2id={lang: 0, "en": 1})))
    # All but short ones, which could be words, and those with spaces of their own.
    refused = [line for line in lines if _is_refused(run, line, lang)]
    assert len(refused) >= 0.8 * len(lines)


def test_marks_beside_the_words_of_a_cut_text() -> None:
    """Setting them apart is for the rules: of texts as of words."""
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"zh": 0, "en": 1})
    graph = graph_tokenizer(tokenizer)
    run = pieces_of(graph)
    assert run(["今天 中 吗？".encode(), "今天 中 吗 ？".encode()], ["zh"] * 2) == run(
        ["今天 中 吗 ？".encode()] * 2, ["zh"] * 2
    )
    assert _is_refused(run, "今天中吗？", "zh")
    words = tf.constant([["今天", "中", "吗？", "哈" * 30]])
    _, _, found = rows_of_words(graph, words, tf.constant(["zh"]))
    assert found.numpy().all()


def _is_refused(run: Any, line: str, lang: str) -> bool:
    try:
        run([line.encode()], [lang])
    except tf.errors.InvalidArgumentError as error:
        assert "must come with spaces between its words" in str(error)
        return True
    return False
