"""Languages that are written without spaces: the real segmenters, and what happens without them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tokenizers.kytea import write_kytea_model
from tests.tokenizers.offsets import check_offsets
from tests.tokenizers.toy import MERGES, hard_texts, toy_vocabulary
from tfxlm.errors import LanguageError
from tfxlm.tokenizers import XLMTokenizer
from tfxlm.tokenizers.segmenters import KYTEA_MODEL, SEGMENTERS

TEXTS = {
    "zh": "我来到北京清华大学。Hello 3.5%…",
    "ja": "これは日本語のテキストです。ABC 12",
    "th": "ผมรักคุณนะครับ “โอเค” hello",
}


@pytest.fixture(autouse=True, scope="module")
def kytea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KYTEA_MODEL, str(write_kytea_model(tmp_path_factory.mktemp("kytea"))))
        yield


def make(**options: Any) -> XLMTokenizer:
    return XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"de": 0, "zh": 1, "ja": 2, "th": 3}, **options)


OPTIONS: list[dict[str, Any]] = [{}, {"do_lowercase_and_remove_accent": False}, {"preprocessing": "fair"}]


def words(tokenizer: XLMTokenizer, text: str, lang: str) -> list[str]:
    """Returns what each word of the tokenizer stands for in the text."""
    encoding = tokenizer(text, lang=lang, add_special_tokens=False)
    count = max(word for word in encoding.word_ids() if word is not None) + 1
    return [text[slice(*(encoding.word_to_chars(word) or (0, 0)))] for word in range(count)]


@pytest.mark.parametrize(
    ("lang", "expected"),
    [
        ("zh", ["我", "来到", "北京", "清华大学", "。", "Hello", "3.5%", "…"]),
        ("ja", ["これは", "日本語", "の", "テキスト", "です", "。", "ABC", "12"]),
        ("th", ["ผม", "รัก", "คุณ", "นะ", "ครับ", "“", "โอเค", "”", "hello"]),
    ],
)
def test_words(lang: str, expected: list[str]) -> None:
    assert words(make(), TEXTS[lang], lang) == expected
    assert words(make(preprocessing="fair"), TEXTS[lang], lang) == expected


@pytest.mark.parametrize("lang", ["ja", "th"])
def test_cased_vocabularies_make_words_of_spaces(lang: str) -> None:
    """As in `transformers`, where each becomes two unknown tokens."""
    tokenizer = make(do_lowercase_and_remove_accent=False)
    assert tokenizer.tokenize("ab cd", lang=lang)[2:4] == ["", "</w>"]
    spans = tokenizer("ab cd", lang=lang, return_offsets_mapping=True)["offset_mapping"]
    assert spans == [(0, 0), (0, 1), (1, 2), (3, 3), (3, 3), (3, 4), (4, 5), (0, 0)]
    assert make(preprocessing="fair").tokenize("ab cd", lang=lang) == make().tokenize("ab cd", lang=lang)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(hard_texts, st.text("北京大学我来 。，ab1.กขิ้ๆเกมากひらカナ漢字", max_size=20)))
def test_offsets(text: str) -> None:
    for tokenizer in CUT_BY_ALL:
        for lang in TEXTS:
            check_offsets(tokenizer, text, lang=lang)


CUT_BY_ALL = [make(**options) for options in OPTIONS]


def test_languages_of_rows_segments_and_words() -> None:
    tokenizer = make()
    rows = [("北京 the", "the"), ("คุณ", "です。")]
    encoding = tokenizer(rows, lang=[("zh", "de"), ("th", "ja")], return_offsets_mapping=True)
    alone = [
        [tokenizer(text, lang=lang, add_special_tokens=False)["input_ids"] for text, lang in zip(*row, strict=True)]
        for row in zip(rows, [("zh", "de"), ("th", "ja")], strict=True)
    ]
    assert encoding["input_ids"] == [[0, *first, 1, *second, 1] for first, second in alone]
    assert [row[0] for row in encoding["langs"]] == [1, 3]
    assert [row[-1] for row in encoding["langs"]] == [0, 2]
    given_words = tokenizer(["北京大学", "我"], lang="zh", is_split_into_words=True)
    assert set(given_words.word_ids()) == {None, 0, 1}


def test_ready_words_need_no_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    _uninstall(monkeypatch, "zh")
    tokenizer = make()
    encoding = tokenizer("中 The", lang="zh", bypass_tokenizer=True, add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(encoding["input_ids"]) == ["中</w>", "T", "h", "e</w>"]
    assert encoding["langs"] == [1] * 4


@pytest.mark.parametrize(
    ("lang", "message"),
    [
        (
            "zh",
            r'Chinese text is cut into words by rjieba or jieba, which is not installed. .* "tfxlm\[zh\]". .*bypass',
        ),
        ("ja", r'Japanese text is cut into words by Mykytea, which is not installed. .*pip install "tfxlm\[ja\]"'),
        ("th", r'Thai text is cut into words by pythainlp.tokenize, which is not installed. .* "tfxlm\[th\]"'),
    ],
)
def test_a_segmenter_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, lang: str, message: str) -> None:
    _uninstall(monkeypatch, lang)
    tokenizer = make()
    for call in (tokenizer, tokenizer.tokenize):
        with pytest.raises(LanguageError, match=message):
            call(TEXTS[lang], lang=lang)
    assert tokenizer("the", lang="de")


def test_another_segmenter_for_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jieba:
        @staticmethod
        def setLogLevel(level: str) -> None:  # noqa: N802
            assert level == "WARNING"

        @staticmethod
        def lcut(text: str) -> list[str]:
            return list(text)

    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setitem(sys.modules, "jieba", Jieba)
    with pytest.warns(UserWarning, match=r'cut by jieba, as rjieba is not installed.*pip install "tfxlm\[zh\]"'):
        assert words(make(), "北京 a", "zh") == ["北", "京", "a"]


def test_no_model_for_japanese(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(KYTEA_MODEL, str(tmp_path / "nothing"))
    with pytest.raises(LanguageError, match=r"KyTea is installed, but its model is not at .*nothing. Name the file in"):
        make()("です", lang="ja")


def _uninstall(monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    for name in SEGMENTERS[lang].modules:
        monkeypatch.setitem(sys.modules, name, None)
