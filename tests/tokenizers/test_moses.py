"""Words against sacremoses."""

import unicodedata

import pytest
from hypothesis import given, settings
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from tests.tokenizers.toy import hard_texts
from tfxlm.tokenizers.moses import MosesWords
from tfxlm.tokenizers.rules import moses
from tfxlm.tokenizers.rules.chains import Chain, Literal, Pattern, Squeeze

LANGUAGES = ["en", "de", "fr", "es", "pt", "it", "cs", "ko", "fi", "ru", "pl", "ar", "sw", "xx"]


class Oracle:
    """The steps of the original, carried out by sacremoses."""

    def __init__(self, language: str, non_printing: str) -> None:
        self._normalizer = MosesPunctNormalizer(language, pre_replace_unicode_punct=True)
        self._tokenizer = MosesTokenizer(language)
        self._non_printing = non_printing

    def __call__(self, text: str) -> list[str]:
        text = self._normalizer.normalize(text)
        text = "".join(self._non_printing if unicodedata.category(char)[0] == "C" else char for char in text)
        return self._tokenizer.tokenize(text, escape=False)


PAIRS = {
    (language, space): (MosesWords(language, space), Oracle(language, space))
    for language in LANGUAGES
    for space in ("", " ")
}


@settings(max_examples=150, deadline=None)
@given(text=hard_texts)
def test_words_of_hard_texts(text: str) -> None:
    for (language, _), (ours, oracle) in PAIRS.items():
        assert ours(text).split() == oracle(text), language


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "Mr. Smith's dog, isn't it?", "Mr. Smith 's dog , isn 't it ?"),
        ("fr", "L'été d'abord", "L' été d' abord"),
        ("de", "Er sagt's: 1\xa0000 z.B. hier.", "Er sagt ' s : 1,000 z.B. hier ."),
        ("en", "No. 7 but No. Seven, e.g. U.S. law", "No. 7 but No . Seven , e.g. U.S. law"),
        ("en", "Wait... what....", "Wait ... what ...."),
        ("en", "5,300 and a,b,c,", "5,300 and a , b , c ,"),
        ("de", 'Er sagte "ja." Dann "nein". "So..."<', 'Er sagte " ja " . Dann " nein " . " So ... " <'),
        ("pt", "Art. Terceiro, Art. 3", "Art . Terceiro , Art. 3"),
        ("de", "im Jahr 1990,", "im Jahr 1990 ,"),
        ("en", "«Quoted», he said.'", '" Quoted , " he said . \''),
        ("ro", "Ştefan şi Țara, în", "Stefan si Tara , in"),
    ],
)
def test_words_by_hand(language: str, text: str, words: str) -> None:
    assert MosesWords(language, "")(text).split() == words.split()


@pytest.mark.parametrize(("non_printing", "words"), [("", ["foobar"]), (" ", ["foo", "bar"])])
def test_non_printing_characters(non_printing: str, words: list[str]) -> None:
    assert MosesWords("en", non_printing)("foo\tbar").split() == words
    assert MosesWords("en", non_printing)("foo\u200bbar").split() == words


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    "text", ["." * 300_000 + ' ."x', '."' * 50_000, "'" * 100_000, "\xa0" * 100_000 + ".", "a." * 50_000]
)
def test_long_runs_take_linear_time(language: str, text: str) -> None:
    # Starting again at each character would take minutes here.
    assert MosesWords(language, " ")(text)


def test_dot_marker_in_the_text_is_no_dot() -> None:
    assert MosesWords("en", " ")(f"a{moses.DOT}b").split() == ["a", "b"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_patterns_need_what_they_say(language: str) -> None:
    # Without the text in `needs` a pattern must not match: otherwise the shortcut changes results.
    rules = (*moses.normalization(language), *moses.separation(language), *moses.AFTER_PERIODS)
    needing = [rule for rule in rules if isinstance(rule, Pattern) and rule.needs]
    unguarded = Chain([Pattern(rule.pattern, rule.new) if rule in needing else rule for rule in rules])
    guarded = Chain(rules)
    assert len(needing) > 10
    for text in (
        "a . ' b",
        "3 % ) (.,'s' 's",
        'x.,"y',
        "1\xa02 \xa0 '",
        "。　b．  c",
        "(a). 'b' ``c'' .'",
        "..a... 1,2,",
    ):
        assert guarded(text) == unguarded(text)


def test_chain_applies_rules_in_order_and_to_any_script() -> None:
    chain = Chain([Literal("a", "é"), Literal("é", "b"), Pattern("(b)!", r"\1 ", needs="!"), Squeeze()])
    assert chain("a!  a ") == "b b"
    assert chain("é") == "b"
