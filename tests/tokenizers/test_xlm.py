"""The tokenizer as users call it."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tokenizers.toy import MERGES, SPECIAL, toy_vocabulary, write_toy
from tfxlm.errors import (
    CheckpointNotFoundError,
    InputError,
    LanguageError,
    OutputExistsError,
    TokenizerError,
)
from tfxlm.tokenizers import XLMTokenizer


def test_tokens_ids_and_text(tokenizer: XLMTokenizer) -> None:
    tokens = tokenizer.tokenize("Hello, the world!")
    assert tokens == ["hello</w>", ",</w>", "the</w>", "world</w>", "!</w>"]
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert tokenizer.convert_ids_to_tokens(np.array(ids)) == tokens
    assert tokenizer("Hello, the world!")["input_ids"] == [0, *ids, 1]
    assert tokenizer.decode([0, *ids, 1], skip_special_tokens=True) == "hello , the world !"
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=True) == "hello, the world!"
    assert tokenizer.batch_decode(np.array([ids, ids])) == ["hello , the world !"] * 2


def test_vocabulary(tokenizer: XLMTokenizer) -> None:
    assert tokenizer.vocab_size == len(tokenizer) == len(toy_vocabulary())
    assert tokenizer.get_vocab() == toy_vocabulary()
    assert tokenizer.convert_tokens_to_ids("no such piece") == tokenizer.unk_token_id == 3
    assert tokenizer.convert_ids_to_tokens(10**6) == "<unk>"


def test_special_tokens(tokenizer: XLMTokenizer) -> None:
    found = (tokenizer.bos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id)
    assert found == (0, 1, 2, 5)
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.cls_token) == (None, None, "</s>")
    assert tokenizer.all_special_tokens == ["<s>", "<unk>", "</s>", "<pad>", "<special1>", "<special0>", *SPECIAL[6:]]
    assert sorted(tokenizer.all_special_ids) == list(range(14))
    assert tokenizer.num_special_tokens_to_add() == 2
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    assert (tokenizer.max_len_single_sentence, tokenizer.max_len_sentences_pair) == (510, 509)
    assert tokenizer.get_special_tokens_mask([0, 30, 1], already_has_special_tokens=True) == [1, 0, 1]


@pytest.mark.parametrize(
    ("lang", "langs"),
    [
        ("fr", [[2, 2, 2, 2, 2], [2, 2, 2, 2, 2]]),
        (("en", "de"), [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]),
        (["fr", ("en", "de")], [[2, 2, 2, 2, 2], [1, 1, 1, 0, 0]]),
    ],
)
def test_langs_per_call_row_and_segment(tokenizer: XLMTokenizer, lang: Any, langs: list[list[int]]) -> None:
    assert tokenizer(["the", "the"], ["hello", "hello"], lang=lang)["langs"] == langs


def test_langs_of_padding_are_those_of_the_nearest_token(tokenizer: XLMTokenizer) -> None:
    rows = (["the", "the the"], ["hello", "hello"])
    assert tokenizer(*rows, lang=("en", "de"), padding=True)["langs"][0] == [1, 1, 1, 0, 0, 0]
    assert tokenizer(*rows, lang=("en", "de"), padding=True, padding_side="left")["langs"][0] == [1, 1, 1, 1, 0, 0]


def test_langs_only_when_known(tokenizer: XLMTokenizer, tmp_path: Path) -> None:
    assert tokenizer("the").keys() == {"input_ids", "attention_mask"}
    assert tokenizer("the", lang="en").keys() == {"input_ids", "attention_mask", "langs"}
    assert "langs" not in tokenizer("the", lang="en", return_langs=False)
    without = XLMTokenizer.from_pretrained(write_toy(tmp_path))
    assert (without.lang2id, without.id2lang) == (None, None)
    assert "langs" not in without("the", lang="en")
    with pytest.raises(LanguageError, match="return_langs=True needs a lang and a tokenizer with languages"):
        without("the", lang="en", return_langs=True)


@pytest.mark.parametrize(
    ("lang", "message"),
    [
        ("it", "The language 'it' is unknown. Known languages: de, en, fr, zh"),
        (["en", "xx"], "The language 'xx' is unknown"),
        (7, "A language is given by its code, such as 'en', not by 7"),
        (["en", None], "lang has no language for row 1"),
        (("en", "de"), r"should name the languages of the two texts of a pair, but the row has 1"),
    ],
)
def test_wrong_languages(tokenizer: XLMTokenizer, lang: Any, message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        tokenizer(["the", "the"], lang=lang)


def test_wrong_number_of_languages(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(InputError, match="lang has 1 entries for 2 rows"):
        tokenizer(["the", "the"], lang=["en"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"the",), r"text should be a str or a list of str, but is a bytes. Decode it first"),
        ((None,), "but is None. Pass a str"),
        ((["the", 5],), "A text should be a str, but one is a int"),
        ((["the", b"a"],), r"one is a bytes. Decode it first: text.decode\('utf-8'\)"),
        ((np.array(["the"]),), "but is a ndarray. Convert arrays and tensors to lists of str"),
        (("the", ["a"]), "text is one str, so text_pair should be one, too, but it is a list"),
        ((["the"], "a"), "text has 1 rows, so text_pair should be a list of 1, but is a str"),
        ((["the"], ["a", "b"]), "text_pair should be a list of 1, but is 2 texts"),
        (([["a", "b", "c"]],), "A row that is a list should be a pair of texts, but one has 3 items"),
    ],
)
def test_wrong_texts(tokenizer: XLMTokenizer, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"padding": "longst"},
            "padding='longst' is not a choice. Choose one of: False, True, 'longest', 'max_length'",
        ),
        ({"padding": 1}, "padding=1 is not a choice"),
        ({"truncation": "both"}, "truncation='both' is not a choice. Choose one of: False, True, 'longest_first'"),
        ({"return_tensors": "pt"}, "return_tensors='pt' is not a choice. Choose one of: 'np', 'tf'"),
        ({"padding_side": "top"}, "padding_side='top' is not a choice. Choose one of: 'right', 'left'"),
        ({"max_length": 0}, "max_length=0 should be a positive number"),
        ({"max_length": 2.5}, "max_length=2.5 should be a positive number"),
        ({"pad_to_multiple_of": True}, "pad_to_multiple_of=True should be a positive number"),
        ({"stride": -1}, "stride=-1 should be a number of tokens, 0 or more"),
        ({"stride": True}, "stride=True should be a number of tokens"),
        ({"return_token_type_ids": True, "add_special_tokens": False}, "needs add_special_tokens=True"),
        (
            {"padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 4},
            "padded to a multiple of 4, but 9 is none. Choose a max_length such as 8",
        ),
        ({"truncation": True, "max_length": 2}, "asks to cut 1 tokens from the first text, which has only 1"),
        ({"truncation": "only_second", "max_length": 2}, "there is no second text. Pass text_pair"),
    ],
)
def test_wrong_options(tokenizer: XLMTokenizer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer("the", **options)


def test_no_room_for_a_pair(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(
        InputError, match="max_length=2 has no room for the special tokens of a pair: 3 tokens have to go, but both"
    ):
        tokenizer("the", "the", truncation=True, max_length=2)


def test_unknown_lengths(tmp_path: Path) -> None:
    unlimited = XLMTokenizer.from_pretrained(write_toy(tmp_path, model_max_length=None))
    assert unlimited.model_max_length == int(1e30)
    with pytest.raises(InputError, match="truncation=True needs a length, but no max_length is given"):
        unlimited("the", truncation=True)
    with pytest.raises(InputError, match="padding='max_length' needs a length"):
        unlimited("the", padding="max_length")


def test_one_warning_for_rows_the_model_does_not_take(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, model_max_length=4)
    with pytest.warns(UserWarning, match="A row has 5 tokens, but the model takes at most 4. Pass truncation=True"):
        tokenizer("the the the")
    tokenizer(["the the the the"])
    tokenizer("the the", truncation=False)
    assert not recwarn.list
    assert len(tokenizer("the the the", truncation=True)["input_ids"]) == 4
    assert len(tokenizer("the", padding="max_length")["input_ids"]) == 4


def test_length_without_truncation_warns(tokenizer: XLMTokenizer) -> None:
    with pytest.warns(UserWarning, match="max_length is given without truncation=True"):
        assert len(tokenizer("the the the", max_length=4)["input_ids"]) == 4
    assert len(tokenizer("the the the", max_length=4, truncation=False)["input_ids"]) == 5


def test_empty_batches_and_texts(tokenizer: XLMTokenizer) -> None:
    assert dict(tokenizer([])) == {"input_ids": [], "attention_mask": []}
    for kind in ("np", "tf"):
        nothing = tokenizer([], lang="en", return_tensors=kind, return_length=True)
        shapes = {name: tuple(value.shape) for name, value in nothing.items()}
        assert shapes == {"input_ids": (0, 0), "attention_mask": (0, 0), "langs": (0, 0), "length": (0,)}
    assert tokenizer("")["input_ids"] == [0, 1]
    assert tokenizer("", "", return_tensors="np")["input_ids"].tolist() == [[0, 1, 1]]
    assert tokenizer("", add_special_tokens=False, return_tensors="np")["input_ids"].shape == (1, 0)


def test_lengths_do_not_count_padding(tokenizer: XLMTokenizer) -> None:
    encoding = tokenizer(["the", "the the"], padding="max_length", max_length=6, return_length=True)
    assert encoding["length"] == [3, 4]
    assert np.sum(encoding["attention_mask"], axis=1).tolist() == [3, 4]


def test_special_tokens_in_texts(tokenizer: XLMTokenizer) -> None:
    assert tokenizer.tokenize("The</S> end <SPECIAL1>") == [
        *("the</w>", "</s>", "e", "n", "d</w>", "<special1>"),
    ]
    tokenizer.add_tokens(["<special1>2", "<pa"])
    assert tokenizer.tokenize("<special1>2<pad><pa") == ["<special1>2", "<pad>", "<pa"]
    assert "</s>" not in tokenizer.tokenize("the </s>", split_special_tokens=True)
    assert 1 not in tokenizer("the </s>", split_special_tokens=True, add_special_tokens=False)["input_ids"]


def test_special_tokens_with_capitals(folder: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, special_tokens=["[CLS]"])
    assert tokenizer.tokenize("The [CLS] the [cls]")[:3] == ["the</w>", "[CLS]", "the</w>"]
    assert tokenizer.convert_tokens_to_ids("[CLS]") == tokenizer.vocab_size
    assert len(tokenizer) == tokenizer.vocab_size + 1


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_work_alone(tokenizer: XLMTokenizer, clone: Any) -> None:
    other = clone(tokenizer)
    other.add_tokens("berlin")
    assert other("Hello berlin", lang="de") != tokenizer("Hello berlin", lang="de")
    assert other("Hello", lang="fr") == tokenizer("Hello", lang="fr")


def test_from_a_mapping_and_a_list() -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES)
    assert tokenizer.tokenize("the world") == ["the</w>", "world</w>"]


def test_files_round_trip(tokenizer: XLMTokenizer, tmp_path: Path) -> None:
    paths = tokenizer.save_pretrained(tmp_path / "new" / "folder")
    assert all(Path(path).is_file() for path in paths)
    again = XLMTokenizer.from_pretrained(tmp_path / "new" / "folder")
    assert (again.lang2id, again.model_max_length) == (tokenizer.lang2id, 512)
    assert again("Hello, the world!", lang="fr") == tokenizer("Hello, the world!", lang="fr")
    vocabulary, merges = tokenizer.save_vocabulary(tmp_path / "other", filename_prefix="my")
    assert (Path(vocabulary).name, Path(merges).name) == ("my-vocab.json", "my-merges.txt")
    other = XLMTokenizer(vocabulary, merges)
    assert other.get_vocab() == tokenizer.get_vocab()
    assert other.tokenize("Hello world") == tokenizer.tokenize("Hello world")


def test_uploads(tokenizer: XLMTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[tuple[Any, ...]] = []

    def upload(folder: Any, repo_id: str, *, names: list[str], **options: Any) -> str:
        uploads.append((repo_id, names, options))
        assert (Path(folder) / "vocab.json").is_file()
        return "address"

    monkeypatch.setattr("tfxlm.files.upload_folder", upload)
    assert tokenizer.push_to_hub("me/mine", private=True) == "address"
    tokenizer.save_pretrained(tmp_path / "folder", push_to_hub=True, commit_message="First")
    tokenizer.save_pretrained(tmp_path / "folder", push_to_hub=True, repo_id="me/other")
    names = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"]
    assert uploads == [
        ("me/mine", ["*"], {"commit_message": "Upload tokenizer", "private": True}),
        ("folder", names, {"commit_message": "First"}),
        ("me/other", names, {"commit_message": "Upload tokenizer"}),
    ]


def test_saving_onto_a_file(tokenizer: XLMTokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for save in (tokenizer.save_pretrained, tokenizer.save_vocabulary):
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(
                OutputExistsError, match=r"file' is a file. Give a folder to save to, or remove the file"
            ):
                save(folder)
    assert (tmp_path / "file").read_text() == "x"


def test_unknown_settings_of_files_are_kept(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy", my_note="kept", do_lower_case=True, their_note=[1])
    XLMTokenizer.from_pretrained(folder, their_note=[2]).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (saved["my_note"], saved["do_lower_case"], saved["their_note"]) == ("kept", True, [2])
    assert not {"case", "accents", "split_special_tokens"} & saved.keys()  # they follow from the others


def test_languages_of_older_files_are_in_the_model_config(tmp_path: Path) -> None:
    folder = write_toy(tmp_path)
    (folder / "config.json").write_text(json.dumps({"id2lang": {"0": "de", "1": "en"}}), encoding="utf-8")
    assert XLMTokenizer.from_pretrained(folder).lang2id == {"de": 0, "en": 1}


def test_added_tokens_of_older_files(tmp_path: Path) -> None:
    folder = write_toy(tmp_path)
    size = len(toy_vocabulary())
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": size, "plain": size + 1}), encoding="utf-8")
    extra = {"additional_special_tokens": [*SPECIAL[4:], {"content": "<new>", "lstrip": False}]}
    (folder / "special_tokens_map.json").write_text(json.dumps(extra), encoding="utf-8")
    tokenizer = XLMTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("the <new> plain") == ["the</w>", "<new>", "plain"]
    assert "<new>" in tokenizer.all_special_tokens
    assert "plain" not in tokenizer.all_special_tokens


def test_a_vocabulary_longer_than_the_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"n_words": 50}', encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"but by config.json the model has only 50 rows. Use the vocabulary"):
        XLMTokenizer.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"n_words": len(toy_vocabulary())}), encoding="utf-8")
    assert XLMTokenizer.from_pretrained(folder)("the")["input_ids"][0] == 0


def test_a_list_too_large_to_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfxlm.tokenizers.bpe_files.MAX_TEXT_BYTES", 10)
    with pytest.raises(TokenizerError, match="is larger than 10 bytes: it is not the list of a tokenizer"):
        XLMTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_vocabulary_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"has no {name}, which the tokenizer needs. Copy"):
        XLMTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "{", "is not valid JSON.*A vocabulary is a JSON object"),
        ("vocab.json", "[]", "should hold a JSON object"),
        ("vocab.json", "{}", "is an empty vocabulary"),
        ("vocab.json", '{"a": "0"}', "gives 'a' the id '0'; ids are whole numbers from 0"),
        ("vocab.json", '{"a": -1}', "gives 'a' the id -1"),
        ("vocab.json", '{"a": true}', "gives 'a' the id True"),
        ("vocab.json", '{"a": 0, "b": 0}', "gives the id 0 to 'a' and to 'b'"),
        ("vocab.json", '{"a": 0}', "The vocabulary has no <s>, <unk>, </s>, <pad>.*Add these special tokens"),
        ("merges.txt", "a b c d\n", "is not a list of merges: 1 of 1 rows are malformed, the first being 'a b c d'"),
        ("merges.txt", "<!doctype html>", "is an HTML page"),
        ("merges.txt", "", "is empty"),
        ("merges.txt", b"\xff b\n", "is not UTF-8 text"),
        ("tokenizer_config.json", "{", "is not valid JSON.*Restore the file"),
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}', "holds a BertTokenizer, not a XLMTokenizer"),
        ("tokenizer_config.json", '{"lang2id": {"en": "x"}}', "lang2id should map language codes and ids from 0"),
        ("tokenizer_config.json", '{"lang2id": {"en": 0, "de": 0}}', "gives two languages the same id"),
        ("tokenizer_config.json", '{"lang2id": {"en": 0}, "id2lang": {"1": "en"}}', "disagree"),
        ("tokenizer_config.json", '{"lang2id": "en"}', "lang2id should be a mapping, but is a str. Correct it"),
        ("tokenizer_config.json", '{"special_tokens": "x"}', "special_tokens should be a list of tokens, but is a str"),
        ("tokenizer_config.json", '{"model_max_length": "5"}', "model_max_length should be a number of tokens"),
        ("tokenizer_config.json", '{"model_max_length": 0}', "model_max_length=0 leaves no room for a token"),
        ("tokenizer_config.json", '{"unk_token": null}', "A tokenizer needs an unk_token"),
        ("tokenizer_config.json", '{"pad_token": 5}', "pad_token should be a token's text or an object"),
        ("tokenizer_config.json", '{"pad_token": "[PAD]"}', r"The vocabulary has no \[PAD\]"),
        ("tokenizer_config.json", '{"sep_token": null}', "Inputs of this tokenizer need a sep_token, but it is None"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"x": "<n>"}}',
            "should map ids from 0 to tokens, but has the id 'x'",
        ),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"-1": "<n>"}}', "from 0 to tokens, but has the id '-1'"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"7": "<s>"}}',
            "has the id 7, but the vocabulary gives it 0",
        ),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"0": "<n>"}}',
            "The id 0 belongs to '<s>' and to the added token '<n>'",
        ),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"900": "pp", "0900": "qq"}}', "belongs to 'pp' and to"),
    ],
)
def test_malformed_files(folder: Path, name: str, content: str | bytes, message: str) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokenizerError, match=message):
        XLMTokenizer.from_pretrained(folder)


def test_new_ids_follow_the_largest(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary() | {"far": 5000}, MERGES, special_tokens=["<a>", "<b>"])
    assert tokenizer.convert_tokens_to_ids(["<a>", "<b>"]) == [5001, 5002]


def test_settings_name_no_files(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"vocab_file": "/nowhere"}), encoding="utf-8")
    assert XLMTokenizer.from_pretrained(folder).vocab_size == len(toy_vocabulary())


def test_a_few_malformed_merges_are_passed_over(folder: Path) -> None:
    rows = [f"x{index} y" for index in range(3000)]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *rows, "\xa0 \xa0 7", "t h 5"]), encoding="utf-8")
    assert XLMTokenizer.from_pretrained(folder).tokenize("tha") == ["th", "a</w>"]
