"""The preprocessing of the original, point by point, by hand.

Two points are not the tokenizer's alone. That checkpoints of the causal objective (CLM) are causal, and predict the
next token from the last real one, is the model's business: here it means a prompt without a closing separator. What
the objectives mask, and the streams they read, is the data's: here it means that position 0 is known as a special
token, and that pairs for classification (XNLI) come with their languages.
"""

from pathlib import Path

import pytest

from tests.tokenizers.toy import write_toy
from tfxlm.errors import InputError, LanguageError
from tfxlm.tokenizers import XLMTokenizer


def _words(tokenizer: XLMTokenizer, text: str, lang: str | None = None) -> list[str]:
    return tokenizer.convert_tokens_to_string(tokenizer.tokenize(text, lang=lang)).split()


def test_inputs_open_with_the_separator(fair: XLMTokenizer, tokenizer: XLMTokenizer) -> None:
    the, hello = tokenizer.convert_tokens_to_ids(["the</w>", "hello</w>"])
    assert fair("the")["input_ids"] == [1, the, 1]
    assert fair("the", "hello")["input_ids"] == [1, the, 1, hello, 1]
    assert tokenizer("the")["input_ids"] == [0, the, 1]
    assert tokenizer("the", "hello")["input_ids"] == [0, the, 1, hello, 1]


def test_segments_of_a_pair(fair: XLMTokenizer) -> None:
    encoding = fair("the", "hello", lang=("en", "fr"), return_token_type_ids=True, return_special_tokens_mask=True)
    assert encoding["langs"] == [1, 1, 1, 2, 2]
    assert encoding["token_type_ids"] == [0, 0, 0, 1, 1]
    assert encoding["special_tokens_mask"] == [1, 0, 1, 0, 1]
    assert fair.build_inputs_with_special_tokens([30], [31]) == [1, 30, 1, 31, 1]


def test_a_sentence_and_its_translation(fair: XLMTokenizer, tokenizer: XLMTokenizer) -> None:
    expected = {
        "input_ids": [1, 30, 31, 1, 1, 32, 1],  # </s> A </s></s> B </s>
        "attention_mask": [1, 1, 1, 1, 1, 1, 1],
        "position_ids": [0, 1, 2, 3, 0, 1, 2],
        "langs": [1, 1, 1, 1, 2, 2, 2],
    }
    for one in (fair, tokenizer):  # the model was trained with this frame, whoever cuts the words
        assert dict(one.build_tlm_inputs([30, 31], [32], lang=("en", "fr"))) == expected
    assert "langs" not in fair.build_tlm_inputs([30], [31])
    assert fair.build_tlm_inputs([], [])["position_ids"] == [0, 1, 0, 1]
    rows = [fair.build_tlm_inputs([30, 31], [32], ("en", "fr")), fair.build_tlm_inputs([30], [32], ("de", "fr"))]
    batch = fair.pad(rows, return_tensors="np")
    assert batch["input_ids"].tolist() == [[1, 30, 31, 1, 1, 32, 1], [1, 30, 1, 1, 32, 1, 2]]
    assert batch["attention_mask"].tolist()[1] == [1, 1, 1, 1, 1, 1, 0]
    assert batch["position_ids"].tolist()[1] == [0, 1, 2, 0, 1, 2, 0]
    assert batch["langs"].tolist()[1] == [0, 0, 0, 2, 2, 2, 2]


@pytest.mark.parametrize(("lang", "message"), [(("en", "it"), "The language 'it' is unknown"), (("en",), "two texts")])
def test_a_translation_in_an_unknown_language(fair: XLMTokenizer, lang: tuple[str, ...], message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        fair.build_tlm_inputs([30], [31], lang=lang)


def test_a_prompt_for_a_causal_model(fair: XLMTokenizer) -> None:
    prompt = fair("the hello", lang="en", add_special_tokens=False)
    assert prompt["input_ids"] == fair.convert_tokens_to_ids(["the</w>", "hello</w>"])
    assert prompt["langs"] == [1, 1]


def test_what_objectives_need_to_know(fair: XLMTokenizer) -> None:
    encoding = fair(["the", "the"], ["hello", "hello"], lang=["fr", "de"], return_special_tokens_mask=True)
    assert [row[0] for row in encoding["special_tokens_mask"]] == [1, 1]  # masked language modeling leaves it
    assert encoding["langs"] == [[2] * 5, [0] * 5]  # a pair of one language, as in XNLI


@pytest.mark.parametrize("lang", ["en", "fr", "de"])
def test_the_language_chooses_the_rules(fair: XLMTokenizer, tokenizer: XLMTokenizer, lang: str) -> None:
    expected = {"en": ["d", "'un"], "fr": ["d'", "un"], "de": ["d", "'", "un"]}[lang]
    assert _words(fair, "d'un", lang) == expected
    assert fair("d'un", lang=lang, add_special_tokens=False)["input_ids"] == fair.convert_tokens_to_ids(
        fair.tokenize("d'un", lang)
    )
    assert _words(tokenizer, "d'un", lang) == expected


def test_words_are_cut_before_letters_are_lowered(fair: XLMTokenizer, tokenizer: XLMTokenizer) -> None:
    assert _words(fair, "No. 7") == ["no.", "7"]
    assert _words(tokenizer, "No. 7") == ["no", ".", "7"]
    # the next word decides about the full stop, and must still have its capital
    assert _words(fair, "the word. Hello") == ["the", "word", ".", "hello"]
    assert _words(tokenizer, "the word. Hello") == ["the", "word.", "hello"]


@pytest.mark.parametrize("char", ["\t", "\x00", "\u200b", "\xad", "\ue000", "\n"])
def test_non_printing_characters_separate(fair: XLMTokenizer, tokenizer: XLMTokenizer, char: str) -> None:
    assert _words(fair, f"foo{char}bar") == ["foo", "bar"]
    assert _words(tokenizer, f"foo{char}bar") == ["foobar"]


def test_a_final_sigma_is_seen_in_its_text(fair: XLMTokenizer, tokenizer: XLMTokenizer) -> None:
    assert _words(fair, "ΟΔΟΣ") == ["οδος"]
    assert _words(tokenizer, "ΟΔΟΣ") == ["οδοσ"]


@pytest.mark.parametrize(
    ("case", "accents", "expected"),
    [
        ("none", "keep", "Éa Россия"),
        ("none", "strip", "Ea Россия"),
        ("ascii", "keep", "Éa Россия"),
        ("ascii", "strip", "ea Россия"),
        ("unicode", "keep", "éa россия"),
        ("unicode", "strip", "ea россия"),
    ],
)
def test_case_and_accents(folder: Path, case: str, accents: str, expected: str) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, preprocessing="fair", case=case, accents=accents)
    assert _words(tokenizer, "Éa Россия") == expected.split()


@pytest.mark.parametrize(("lower", "expected"), [(True, ("unicode", "strip")), (False, ("none", "keep"))])
def test_case_follows_the_vocabulary_if_not_given(folder: Path, lower: bool, expected: tuple[str, str]) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, preprocessing="fair", do_lowercase_and_remove_accent=lower)
    assert (tokenizer.case, tokenizer.accents) == expected


def test_special_tokens_in_texts_are_text(fair: XLMTokenizer, tokenizer: XLMTokenizer) -> None:
    assert _words(fair, "a </s> b") == ["a", "<", "/", "s", ">", "b"]
    assert tokenizer.tokenize("a </s> b") == ["a</w>", "</s>", "b</w>"]
    assert fair.tokenize("a </s> b", split_special_tokens=False) == ["a</w>", "</s>", "b</w>"]


def test_romanian_diacritics(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, do_lowercase_and_remove_accent=False, preprocessing="fair")
    assert _words(XLMTokenizer.from_pretrained(folder), "Ţară, în", "ro") == ["Tara", ",", "in"]
    assert _words(XLMTokenizer.from_pretrained(folder), "Ţară, în", "de") == ["Ţară", ",", "în"]


def test_the_choice_is_saved(fair: XLMTokenizer, tmp_path: Path) -> None:
    fair.save_pretrained(tmp_path / "saved")
    again = XLMTokenizer.from_pretrained(tmp_path / "saved")
    assert (again.preprocessing, again.case, again.accents) == ("fair", "unicode", "strip")
    assert again("No. 7 </s>")["input_ids"] == fair("No. 7 </s>")["input_ids"]
    assert XLMTokenizer.from_pretrained(tmp_path / "saved", preprocessing="hf")("the")["input_ids"][0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": "moses"}, "preprocessing='moses' is not a choice. Choose one of: 'hf', 'fair'"),
        ({"case": "ascii"}, "case and accents belong to preprocessing='fair'"),
        ({"preprocessing": "fair", "case": "upper"}, "case='upper' is not a choice. Choose one of: 'none', 'ascii'"),
        ({"preprocessing": "fair", "accents": "drop"}, "accents='drop' is not a choice. Choose one of: 'keep'"),
    ],
)
def test_wrong_choices(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        XLMTokenizer.from_pretrained(folder, **options)
