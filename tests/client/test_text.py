"""Questions about texts, over each transport, waiting and awaited."""

from typing import Any

import numpy as np
import pytest

from tests.client.text_model import REFUSED
from tfxlm.client import Answer, Choice, Client, FilledMask, Labelled, LabelledWord, Span
from tfxlm.errors import ArgumentError, InputError, LanguageError, ServingError
from tfxlm.serve import Server


@pytest.fixture(scope="module")
def texts(server: Server) -> Any:
    with Client(grpc=server.grpc_address) as client:
        yield client


def test_classify_text(either: Any) -> None:
    assert either.classify_text("texts", "abcd", lang="en") == Labelled("short:en:1", *_scores(0.4))
    assert either.classify_text("texts", ["äbcd", "0123456789"], lang=["de", "fr"]) == [
        Labelled("short:de:2", *_scores(0.4)),
        Labelled("long:fr:2", *_scores(1.0)),
    ]
    pair = either.classify_text("texts", "abc", text_pair=["", "defghij"], lang="en", lang_pair="de")
    assert [one.label for one in pair] == ["short:en:de", "long:en:de"]
    assert either.classify_text("texts", "abc", text_pair="", lang="en").label == "short:en:en"


def _scores(long: float) -> tuple[float, tuple[float, ...]]:
    scores = np.array([1.0 - np.float32(long), long], np.float32).tolist()
    return max(scores), tuple(scores)


def test_the_other_tasks(either: Any) -> None:
    np.testing.assert_array_equal(either.regress_text("texts", ["a", "bcd"]), [[1, -1], [3, -3]])
    assert either.regress_text("texts", "ab").tolist() == [2, -2]
    assert either.label_words("texts", ["ab", "c"]) == (LabelledWord("ab", "AB", 2.0), LabelledWord("c", "C", 1.0))
    assert either.label_words("texts", [["a", "b", "c"], ["d"]]) == [
        (LabelledWord("a", "A", 1.0), LabelledWord("b", "B", 1.0), LabelledWord("c", "", 0.0)),
        (LabelledWord("d", "D", 1.0),),
    ]
    assert either.label_text("texts", ["a bc", ""], lang="en") == [
        (LabelledWord("a", "A", 1.0, 0, 1), LabelledWord("bc", "BC", 2.0, 2, 4)),
        (),
    ]
    spans = (Span("äbc", 0, 3, 0.5), Span("äb", 0, 2, 0.25))
    answer = Answer("äbc", 0, 3, 0.5, "äbcd", spans, 5 / 64)
    assert either.answer("texts", "what?", "äbcd", lang="en") == answer
    several = either.answer("texts", "none", ["abcd", "efgh"], lang="en")
    assert [(one.text, one.spans, one.context) for one in several] == [
        ("abc", (Span("abc", 0, 3, 0.5),), "abcd"),
        ("efg", (Span("efg", 0, 3, 0.5),), "efgh"),
    ]
    assert either.choose("texts", "?", ["a", "bcd", "ef"]) == Choice(1, "bcd", 3.0, (1.0, 3.0, 2.0))
    assert either.choose("texts", ["?", "!"], [["a"], ["b", "cd"]]) == [
        Choice(0, "a", 1.0, (1.0,)),
        Choice(1, "cd", 2.0, (1.0, 2.0)),
    ]
    assert [one.text for one in either.choose("texts", ["?", "!"], ["a", "bc"])] == ["bc", "bc"]
    assert [one.text for one in either.choose("texts", "?", [["a"], ["bc", "d"]])] == ["a", "bc"]
    a, b, c = FilledMask("a", 7, 0.5), FilledMask("b", 8, 0.25), FilledMask("c", 9, 0.125)
    assert either.fill_mask("texts", "<mask>") == ((a, b, c),)
    assert either.fill_mask("texts", ["<mask> <mask>", "none"], top_k=2) == [((a, b), (a, b)), ()]
    assert either.embed("texts", ["ab", "c"]).tolist() == [[2, 2.5, 0], [1, 1.5, 0]]
    assert either.embed("texts", "ab").tolist() == [2, 2.5, 0]


def test_many_texts_go_in_several_requests(either: Any) -> None:
    labels = [one.label for one in either.classify_text("texts", ["x"] * 5, lang="en", batch_size=2)]
    assert labels == ["short:en:2"] * 4 + ["short:en:1"]
    langs = ["en", "de", "fr", "it", "ru"]
    rows = either.classify_text("texts", ["x"] * 5, lang=langs, batch_size=2)
    assert [one.label.split(":")[1] for one in rows] == langs
    # Each request is filled up for itself.
    assert [len(row) for row in either.label_words("texts", [["a"] * 3, ["b"], ["c"]], batch_size=2)] == [3, 1, 1]


def test_no_texts_at_all(texts: Client) -> None:
    assert texts.classify_text("texts", [], lang="en") == []
    assert texts.embed("texts", []).shape == (0, 0)
    assert texts.label_words("texts", []) == []


class Cutter:
    """Stands for an XLMTokenizer: puts spaces between all characters, and says what it was told."""

    def cut_words(self, text: str, lang: str) -> str:
        return " ".join(text)


def test_texts_without_spaces_are_cut_or_refused(texts: Client) -> None:
    cut = texts.label_text("texts", "今天", lang="zh", tokenizer=Cutter())
    assert [one.word for one in cut] == ["今", "天"]
    assert [one.word for one in texts.label_text("texts", "今天 好", lang="zh", is_cut=True)] == ["今天", "好"]
    # One row of each language: only those that need it are cut.
    mixed = texts.label_text("texts", ["ab", "วัน"], lang=["en", "th"], tokenizer=Cutter())
    assert [len(row) for row in mixed] == [1, 3]
    answer = texts.answer("texts", "何?", "今日は", lang="ja", tokenizer=Cutter())
    assert (answer.context, answer.text) == ("今 日 は", answer.context[answer.start : answer.end])
    message = (
        r"Chinese text has to come with spaces between its words\. Pass tokenizer=XLMTokenizer\.from_pretrained"
        r".*send what XLMTokenizer\.cut_words\(text, lang='zh'\) gives, with is_cut=True"
    )
    with pytest.raises(LanguageError, match=message):
        texts.classify_text("texts", "今天", lang="zh")


def test_a_language_that_the_export_has_settled_is_only_for_cutting(texts: Client) -> None:
    """The signature takes no language; a text in one has to be cut all the same."""
    assert texts.embed("texts", "今天", lang="zh", tokenizer=Cutter()).tolist() == [3, 3.5, 0]
    choice = texts.choose("texts", "何", ["今天", "好"], lang="zh", tokenizer=Cutter())
    assert (choice.index, choice.score) == (0, 3.0)
    with pytest.raises(LanguageError, match=r"takes texts without their language: leave lang out\. It finds"):
        texts.embed("texts", "today", lang="en")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda it: it.classify_text("texts", "x"),
            LanguageError,
            r"Model 'texts' has to be told the language of each text: pass lang, one code for all, such as lang=\"en\"",
        ),
        (
            lambda it: it.classify_text("texts", "x", text_pair="y"),
            LanguageError,
            r"pass lang, lang_pair, one code for all",
        ),
        (lambda it: it.classify_text("texts", "x", lang_pair="en"), InputError, r"of text_pair, which is missing"),
        (
            lambda it: it.classify_text("texts", ["x"], lang=["en", "de"]),
            InputError,
            r"lang must be one code for all, or one for each row; got 2 codes for 1 rows",
        ),
        (lambda it: it.embed("texts", b"x"), InputError, r"text must be a text or a list of texts, got bytes"),
        (lambda it: it.embed("texts", ["x", 7]), InputError, r"text must hold texts; got int at position 1"),
        (
            lambda it: it.answer("texts", ["a", "b"], ["c"]),
            InputError,
            r"Lists of texts must be equally long; got \{'question': 2, 'context': 1\}",
        ),
        (lambda it: it.label_words("texts", "a b"), InputError, r"words must be a list of texts.*; got str"),
        (lambda it: it.label_words("texts", [["a"], []]), InputError, r"at least one text in each row; row 1 is empty"),
        (lambda it: it.label_words("texts", [["a"], "b"]), InputError, r"got both, a text at position 1"),
        (
            lambda it: it.choose("texts", ["a", "b"], [["c"]]),
            InputError,
            r"Each prompt needs its choices: got 2 prompts and 1 lists of choices",
        ),
        (
            lambda it: it.fill_mask("texts", "x", top_k=0),
            InputError,
            r"top_k must be a whole number of 1 or more, got 0",
        ),
        (
            lambda it: it.fill_mask("texts", "<mask>", top_k=4),
            InputError,
            r"gives 3 tokens for each mask, top_k=4 asks for more\. Export it with export_model\(\.\.\., top_k=4\)",
        ),
        (
            lambda it: it.embed("texts", "x", batch_size=0),
            InputError,
            r"batch_size must be a whole number of 1 or more",
        ),
        (lambda it: it.embed("texts", "x", tokenizer=7), InputError, r"tokenizer must be an XLMTokenizer, got int"),
        (
            lambda it: it.embed("texts", "x", batches=2),
            ArgumentError,
            r"Unknown options batches; expected some of batch_",
        ),
        (
            lambda it: it.embed("tiny", "x"),
            InputError,
            r"Model 'tiny' does not embed texts: none of its signatures takes text and gives embedding\. It has",
        ),
    ],
)
def test_questions_that_cannot_be_asked(texts: Client, call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(texts)


def test_what_the_server_says_is_kept(either: Any) -> None:
    with pytest.raises(ServingError, match=r"The text is refused\.") as caught:
        either.classify_text("texts", REFUSED, lang="en")
    assert caught.value.code == "INVALID_ARGUMENT"
    assert not caught.value.is_transient
