"""Texts that are longer than a row."""

from typing import Any

import pytest

from tests.tokenizers.toy import MERGES, toy_vocabulary
from tfxlm.errors import InputError
from tfxlm.tokenizers import XLMTokenizer

TOY = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"de": 0, "en": 1}, model_max_length=8)
LEFT = XLMTokenizer(toy_vocabulary(), MERGES, truncation_side="left")


def rows(encoding: Any) -> list[str]:
    """Writes the letters of each row, and | for special tokens."""
    names = {"<s>": "|", "</s>": "|", "<pad>": "_"}
    return [
        "".join(names.get(token, token.removesuffix("</w>")) for token in encoding.tokens(index))
        for index in range(len(encoding["input_ids"]))
    ]


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (("a b c d e",), {"max_length": 5}, ["|abc|", "|de|"]),
        (("a b c d e",), {"max_length": 5, "stride": 1}, ["|abc|", "|cde|"]),
        (("a b c d e",), {"max_length": 5, "stride": 2}, ["|abc|", "|bcd|", "|cde|"]),
        (("a b c",), {"max_length": 5, "stride": 2}, ["|abc|"]),
        (("a b c d e",), {"max_length": 3, "add_special_tokens": False}, ["abc", "de"]),
        (("a b c d e", "x y"), {"truncation": "only_first", "max_length": 8, "stride": 1}, ["|abc|xy|", "|cde|xy|"]),
        (("x y", "a b c d e"), {"truncation": "only_second", "max_length": 8, "stride": 1}, ["|xy|abc|", "|xy|cde|"]),
        (("a b c", "x y z"), {"max_length": 7}, ["|ab|xy|", "|c|xy|", "|c|z|", "|ab|z|"]),
        (("a b c d", "x"), {"max_length": 7}, ["|abc|x|", "|d|x|"]),
        (("a b c d e",), {"truncation": False, "stride": 2}, ["|abcde|"]),
        (("a b c d e",), {"max_length": 5, "padding": True}, ["|abc|", "|de|_"]),
    ],
)
def test_windows(texts: tuple[str, ...], options: dict[str, Any], expected: list[str]) -> None:
    encoding = TOY(*texts, **{"truncation": True, "return_overflowing_tokens": True} | options)
    assert rows(encoding) == expected
    assert encoding["overflow_to_sample_mapping"] == [0] * len(expected)


def test_windows_from_the_left() -> None:
    encoding = LEFT("a b c d e", truncation=True, max_length=5, stride=1, return_overflowing_tokens=True)
    assert rows(encoding) == ["|cde|", "|abc|"]


def test_rows_of_a_batch() -> None:
    texts = ["a b c d e f", "a", "a b c d e f"]
    encoding = TOY(
        texts,
        lang=["de", "en", "en"],
        truncation=True,
        max_length=5,
        stride=1,
        padding=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_length=True,
        return_tensors="np",
    )
    assert rows(encoding) == ["|abc|", "|cde|", "|ef|_", "|a|__", "|abc|", "|cde|", "|ef|_"]
    assert encoding["overflow_to_sample_mapping"].tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert encoding["langs"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert encoding["length"].tolist() == [5, 5, 4, 3, 5, 5, 4]
    assert {value.shape[0] for value in encoding.values()} == {7}
    for row, sample in enumerate(encoding["overflow_to_sample_mapping"]):
        found = "".join(texts[sample][start:end] for start, end in encoding["offset_mapping"][row])
        assert found == rows(encoding)[row].strip("|_")
        assert encoding.char_to_token(row, 4) == (3 if row in (0, 4) else 1 if row in (1, 5) else None)


def test_windows_over_words_and_languages_of_segments() -> None:
    encoding = TOY(
        [["a"], ["x"]],
        [["ab", "c", "de"], ["y"]],
        lang=[("de", "en"), ("en", "de")],
        is_split_into_words=True,
        truncation="only_second",
        max_length=6,
        stride=1,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert rows(encoding) == ["|a|ab|", "|a|bc|", "|a|cd|", "|a|de|", "|x|y|"]
    assert encoding["langs"] == [[0, 0, 0, 1, 1, 1]] * 4 + [[1, 1, 1, 0, 0]]
    assert [encoding.word_ids(row)[3:5] for row in range(4)] == [[0, 0], [0, 1], [1, 2], [2, 2]]
    assert encoding["offset_mapping"][1] == [(0, 0), (0, 1), (0, 0), (1, 2), (0, 1), (0, 0)]
    assert TOY([["a"]], [["ab", "c"]], is_split_into_words=True).word_ids() == [None, 0, None, 0, 0, 1, None]


def test_windows_up_to_the_length_of_the_model() -> None:
    encoding = TOY("a b c d e f g", truncation=True, return_overflowing_tokens=True)
    assert rows(encoding) == ["|abcdef|", "|g|"]


def test_an_answer_is_found_in_some_window() -> None:
    context, answer = "the world is there, hello world. the singer is her", "her"
    start = context.rindex(answer)
    encoding = TOY(
        ["er"],
        [context],
        truncation="only_second",
        max_length=12,
        stride=3,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = []
    for row, spans in enumerate(encoding["offset_mapping"]):
        first, last = (encoding.char_to_token(row, place, 1) for place in (start, start + len(answer) - 1))
        if first is not None and last is not None:
            found.append(context[spans[first][0] : spans[last][1]])
    assert found and set(found) == {answer}


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (("a b c d",), {"max_length": 5, "stride": 3}, "stride=3 is too large: max_length=5 leaves 3 tokens of a text"),
        (("a",), {"max_length": 5, "stride": 3}, "stride=3 is too large"),  # whatever the text
        (("a b", "a b c d"), {"truncation": "only_second", "max_length": 7, "stride": 2}, "leaves 2 tokens of a text"),
        (("a b", "c"), {"max_length": 4, "stride": 0}, "stride=0 is too large: max_length=4 leaves 0 tokens"),
        (("a b",), {"max_length": 2}, "asks to cut 2 tokens from the first text, which has only 2"),
    ],
)
def test_windows_without_room(texts: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TOY(*texts, **{"truncation": True, "return_overflowing_tokens": True} | options)


def test_a_stride_without_windows_changes_nothing() -> None:
    assert TOY("a b c d e", truncation=True, max_length=4, stride=3) == TOY("a b c d e", truncation=True, max_length=4)
