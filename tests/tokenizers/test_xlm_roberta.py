"""The tokenizer of XLM-RoBERTa: its ids, options and files."""

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfxlm
from tests.tokenizers.test_options import json_values
from tests.tokenizers.toy_pieces import trained, unigram_content, write_trained
from tfxlm.errors import CheckpointNotFoundError, InputError, LanguageError, TFXLMError, TokenizerError
from tfxlm.tokenizers import XLMRobertaTokenizer, XLMRobertaTokenizerFast, XLMTokenizer

DATA = Path(os.environ.get("TFXLM_DATA", ""))
needs_data = pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_trained(tmp_path / "pieces")


@pytest.fixture
def tokenizer(folder: Path) -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def released() -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer(DATA / "vocab" / "xlmr_sentencepiece_rebuilt.model")


@needs_data
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world!", [0, 35378, 8999, 38, 2]),
        ("Bonjour le monde", [0, 84602, 95, 11146, 2]),
        ("你好，世界", [0, 6, 124084, 4, 3221, 2]),
    ],
)
def test_ids_of_the_released_model(released: XLMRobertaTokenizer, text: str, ids: list[int]) -> None:
    assert released(text)["input_ids"] == ids
    assert released.decode(ids, skip_special_tokens=True) == text.replace("，", ",")


@needs_data
def test_special_ids_of_the_released_model(released: XLMRobertaTokenizer) -> None:
    assert (released.vocab_size, len(released)) == (250002, 250002)
    roles = ("bos", "pad", "eos", "unk", "cls", "sep", "mask")
    assert [getattr(released, f"{role}_token_id") for role in roles] == [0, 1, 2, 3, 0, 2, 250001]
    assert sorted(released.get_vocab().values()) == list(range(250002))


def test_one_implementation_of_two_names() -> None:
    assert XLMRobertaTokenizerFast is XLMRobertaTokenizer
    assert tfxlm.XLMRobertaTokenizer is tfxlm.XLMRobertaTokenizerFast is XLMRobertaTokenizer
    tokenizer = XLMRobertaTokenizer(trained())
    assert repr(tokenizer) == f"XLMRobertaTokenizer(vocab_size={tokenizer.vocab_size})"


def test_frames(tokenizer: XLMRobertaTokenizer) -> None:
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the world", "hello"))
    assert tokenizer("the world")["input_ids"] == [0, *a, 2] == tokenizer.build_inputs_with_special_tokens(a)
    pair = [0, *a, 2, 2, *b, 2]
    encoding = tokenizer("the world", "hello", return_token_type_ids=True, return_special_tokens_mask=True)
    assert encoding["input_ids"] == pair == tokenizer.build_inputs_with_special_tokens(a, b)
    assert encoding["token_type_ids"] == [0] * len(pair) == tokenizer.create_token_type_ids_from_sequences(a, b)
    mask = [1, *[0] * len(a), 1, 1, *[0] * len(b), 1]
    assert encoding["special_tokens_mask"] == mask == tokenizer.get_special_tokens_mask(a, b)
    assert encoding.sequence_ids() == [None, *[0] * len(a), None, None, *[1] * len(b), None]
    assert "token_type_ids" not in tokenizer("the world", "hello")
    assert (tokenizer.num_special_tokens_to_add(), tokenizer.num_special_tokens_to_add(pair=True)) == (2, 4)
    assert (tokenizer.max_len_single_sentence, tokenizer.max_len_sentences_pair) == (510, 508)


def test_padding(tokenizer: XLMRobertaTokenizer) -> None:
    batch = tokenizer(["the", "the world"], padding=True, return_tensors="np")
    assert batch["input_ids"][0].tolist() == [*tokenizer.encode("the"), *[1] * (batch["input_ids"].shape[1] - 3)]
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, batch["input_ids"].shape[1]]
    rows = [tokenizer(text) for text in ("the", "the world")]
    assert np.array_equal(tokenizer.pad(rows, return_tensors="np")["input_ids"], batch["input_ids"])


def test_tokens_and_back(tokenizer: XLMRobertaTokenizer) -> None:
    tokens = tokenizer.tokenize("Hello the world")
    assert "".join(tokens) == "▁Hello▁the▁world"
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.convert_tokens_to_string(tokens) == "Hello the world"
    assert tokenizer.convert_tokens_to_ids("日") == tokenizer.unk_token_id == 3
    assert tokenizer.convert_ids_to_tokens([10**6]) == ["<unk>"]
    assert tokenizer.batch_decode(tokenizer(["the world", "日"])["input_ids"]) == ["<s> the world</s>", "<s> <unk></s>"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("   ", []),
        ("\t\n\u3000\u200b\ufeff", []),
        ("\x01\x7f", []),
        ("\ud800", []),  # half of a surrogate pair counts as U+FFFD, which becomes a space
        ("\udc80 \ud83d", []),
    ],
)
def test_texts_of_nothing(tokenizer: XLMRobertaTokenizer, text: str, ids: list[int]) -> None:
    assert tokenizer(text)["input_ids"] == [0, *ids, 2]
    assert tokenizer(text, return_offsets_mapping=True)["offset_mapping"] == [(0, 0)] * (len(ids) + 2)


STRANGE = ["\u0301", "e\u0301\u0302\u0303", "👩\u200d👩\u200d👧", "\x00", "a\ud800b", "\U000e0001", "﷽"]


@pytest.mark.parametrize("text", STRANGE)
def test_texts_of_strange_characters(tokenizer: XLMRobertaTokenizer, text: str) -> None:
    encoding = tokenizer(text, return_offsets_mapping=True)
    assert encoding["offset_mapping"][-2][1] == len(text)
    assert len(encoding["input_ids"]) > 2


@pytest.mark.filterwarnings("ignore:A row has")
def test_long_texts(tokenizer: XLMRobertaTokenizer) -> None:
    words = 20_000
    ids = tokenizer("the world " * words, add_special_tokens=False)["input_ids"]
    once = tokenizer("the world", add_special_tokens=False)["input_ids"]
    assert ids == once * words
    assert len(tokenizer("x" * 100_000, add_special_tokens=False)["input_ids"]) == 2  # a space, and all that is unknown


def test_special_tokens_in_texts(tokenizer: XLMRobertaTokenizer) -> None:
    (the,) = tokenizer.convert_tokens_to_ids(["▁the"])
    mask = tokenizer.mask_token_id
    assert tokenizer("the <mask> the</s>", add_special_tokens=False)["input_ids"] == [the, mask, the, 2]
    ids = tokenizer("the <mask>the</s>", split_special_tokens=True, add_special_tokens=False)["input_ids"]
    assert not {mask, 2} & set(ids)
    assert tokenizer.tokenize("<s>", split_special_tokens=True) != ["<s>"]
    # White space before a mask belongs to it, that after it does not.
    assert tokenizer.tokenize("a  <mask> .") == ["▁a", "<mask>", *tokenizer.tokenize(" .")]
    assert tokenizer.added_tokens_decoder[mask].lstrip
    assert not XLMRobertaTokenizer(trained(), mask_token={"content": "<mask>"}).added_tokens_decoder[mask].lstrip


def test_special_tokens_can_be_set(folder: Path, tmp_path: Path) -> None:
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder, special_tokens=["[x]", "<e>"])
    size = tokenizer.vocab_size
    assert tokenizer.get_added_vocab() | {"[x]": size, "<e>": size + 1} == tokenizer.get_added_vocab()
    with pytest.raises(TokenizerError, match=r"The vocabulary has no \[y\]"):
        XLMRobertaTokenizer.from_pretrained(folder, additional_special_tokens=["[y]"])
    assert tokenizer.add_special_tokens({"sep_token": "[SEP]", "unk_token": "<pad>"}) == 1
    assert tokenizer("日[x]")["input_ids"] == [0, tokenizer.convert_tokens_to_ids("▁"), 1, size, size + 2]
    tokenizer.save_pretrained(tmp_path / "saved")
    again = XLMRobertaTokenizer.from_pretrained(tmp_path / "saved")
    assert again("日[x] <e>", "the") == tokenizer("日[x] <e>", "the")
    assert again.special_tokens_map == tokenizer.special_tokens_map


def test_words_and_windows(tokenizer: XLMRobertaTokenizer) -> None:
    words = ["Hello", "world", "", "日x"]
    encoding = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
    assert sorted({word for word in encoding.word_ids() if word is not None}) == [0, 1, 3]
    assert encoding.word_to_chars(3) == (0, 2)
    assert encoding["offset_mapping"][-2] == (0, 2)
    question, context = "the", "Hello world, the singing world is there. " * 3
    windows = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=16,
        stride=4,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    covered = {place for row in windows["offset_mapping"] for span in row[4:-1] for place in range(*span)}
    assert covered == {place for place, char in enumerate(context) if char != " "}
    assert all(len(row) <= 16 and row[-1] == 2 for row in windows["input_ids"])


def test_languages_change_nothing(tokenizer: XLMRobertaTokenizer) -> None:
    assert tokenizer("the", lang="de", bypass_tokenizer=True) == tokenizer("the")
    assert (tokenizer.lang2id, tokenizer.id2lang) == (None, None)
    with pytest.raises(LanguageError, match="return_langs=True needs a lang and a tokenizer with languages"):
        tokenizer("the", lang="de", return_langs=True)


def test_cutting_at_random(folder: Path, tmp_path: Path) -> None:
    options = {"enable_sampling": True, "nbest_size": -1, "alpha": 0.1}
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder, sp_model_kwargs=options)
    text = "Hello the singing world"
    drawn = [tokenizer(text) for _ in range(30)]
    assert len({tuple(encoding["input_ids"]) for encoding in drawn}) > 3
    for encoding in drawn:  # what is known of an encoding is known of its own tokens
        assert "offset_mapping" not in encoding
        assert tokenizer.convert_ids_to_tokens(encoding["input_ids"]) == encoding.tokens()
        assert len(encoding.word_ids()) == len(encoding["input_ids"])
        places = [encoding.token_to_chars(token) for token in range(1, len(encoding["input_ids"]) - 1)]
        assert "".join(text[slice(*place)] for place in places if place) == text.replace(" ", "")
    batch = tokenizer([text] * 3, padding=True)
    assert all(len(batch.tokens(row)) == len(batch["input_ids"][row]) for row in range(3))
    assert tokenizer.prepare_for_model([5, 6])["input_ids"] == [0, 5, 6, 2]
    tokenizer.save_pretrained(tmp_path / "saved")
    assert XLMRobertaTokenizer.from_pretrained(tmp_path / "saved").sp_model_kwargs == options
    assert XLMRobertaTokenizer.from_pretrained(tmp_path / "saved", sp_model_kwargs={})(text) == XLMRobertaTokenizer(
        trained()
    )(text)


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"model_file": "/etc/passwd"}, "may have enable_sampling, nbest_size, alpha, but has 'model_file'"),
        ({"add_bos": True}, "but has 'add_bos', which would change what an id stands for. Leave it out"),
        ("x", "sp_model_kwargs should be a mapping, but is a str"),
        (
            {"enable_sampling": True, "nbest_size": 1},
            "are no options of SentencePiece's sampling .*Correct sp_model",
        ),
        ({"enable_sampling": True, "alpha": "x"}, "are no options of SentencePiece's sampling"),
    ],
)
def test_wrong_ways_of_cutting(folder: Path, given_options: Any, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        XLMRobertaTokenizer.from_pretrained(folder, sp_model_kwargs=given_options)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_work_alone(tokenizer: XLMRobertaTokenizer, clone: Any) -> None:
    other = clone(tokenizer)
    other.add_tokens("Berlin")
    assert other("Hello Berlin") != tokenizer("Hello Berlin")
    assert other("Hello ½", return_offsets_mapping=True) == tokenizer("Hello ½", return_offsets_mapping=True)


def test_files_round_trip(tokenizer: XLMRobertaTokenizer, tmp_path: Path) -> None:
    tokenizer.add_tokens("Berlin")
    paths = tokenizer.save_pretrained(tmp_path / "new")
    names = ["sentencepiece.bpe.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    assert [Path(path).name for path in paths] == [*names, "added_tokens.json"]
    again = XLMRobertaTokenizer.from_pretrained(tmp_path / "new")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again("Hello Berlin <mask> ½") == tokenizer("Hello Berlin <mask> ½")
    assert (tmp_path / "new" / "sentencepiece.bpe.model").read_bytes() == trained()
    (path,) = tokenizer.save_vocabulary(tmp_path / "other", filename_prefix="my")
    assert Path(path).name == "my-sentencepiece.bpe.model"
    assert XLMRobertaTokenizer(path)("the world") == tokenizer("the world")


def test_files_with_other_settings(folder: Path, tmp_path: Path) -> None:
    settings = {"tokenizer_class": "XLMRobertaTokenizerFast", "vocab_file": "/nowhere", "my_note": 1}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (saved["tokenizer_class"], saved["my_note"], "vocab_file" in saved) == ("XLMRobertaTokenizer", 1, False)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    assert XLMRobertaTokenizer.from_pretrained(folder)("the") == tokenizer("the")
    (folder / "tokenizer_config.json").unlink()
    assert XLMRobertaTokenizer.from_pretrained(folder)("the") == tokenizer("the")


def test_missing_and_foreign_files(folder: Path) -> None:
    with pytest.raises(InputError, match=r"A tokenizer needs its model. Pass vocab_file, or tokenizer_file, or use"):
        XLMRobertaTokenizer()
    with pytest.raises(TokenizerError, match="holds a XLMRobertaTokenizer, not a XLMTokenizer"):
        (folder / "vocab.json").write_text("{}")
        (folder / "merges.txt").write_text("a b\n")
        XLMTokenizer.from_pretrained(folder)
    (folder / "config.json").write_text('{"vocab_size": 100}', encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"but by config.json the model has only 100 rows"):
        XLMRobertaTokenizer.from_pretrained(folder)
    (folder / "sentencepiece.bpe.model").unlink()
    message = "has no sentencepiece.bpe.model and no tokenizer.json, one of which the tokenizer needs. Copy the"
    with pytest.raises(CheckpointNotFoundError, match=message):
        XLMRobertaTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match=r"XLMRobertaTokenizer has no option 'lang2id'. Leave it out"):
        XLMRobertaTokenizer(trained(), lang2id={"en": 0})


@pytest.mark.parametrize("value", [123, {}, [], 1.5, True])
def test_what_is_no_file(value: Any) -> None:
    with pytest.raises(
        InputError, match=r"vocab_file should be a path, or the content of the file as bytes, but is a "
    ):
        XLMRobertaTokenizer(value)
    with pytest.raises(InputError, match=r"tokenizer_file should be a path, but is a "):
        XLMRobertaTokenizer(tokenizer_file=value)


def test_contents_and_two_files(folder: Path) -> None:
    expected = XLMRobertaTokenizer(trained())("the world")
    for content in (bytearray(trained()), memoryview(trained())):
        assert XLMRobertaTokenizer(content)("the world") == expected
    path = folder / "sentencepiece.bpe.model"
    with pytest.raises(InputError, match=r"two forms of the same pieces\. Pass one of them"):
        XLMRobertaTokenizer(path, tokenizer_file=folder / "tokenizer.json")
    other = folder.parent / "tokenizer.json"
    other.write_text(json.dumps(unigram_content(a=-1.0)), encoding="utf-8")
    named = XLMRobertaTokenizer.from_pretrained(folder, tokenizer_file=other)
    assert named.get_vocab() == XLMRobertaTokenizer(tokenizer_file=other).get_vocab()


@pytest.mark.parametrize("tokens", [None, 5, b"the", {"the": 1}])
def test_what_are_no_tokens(tokenizer: XLMRobertaTokenizer, tokens: Any) -> None:
    with pytest.raises(InputError, match="Tokens should be a str or a list of str, but are "):
        tokenizer.convert_tokens_to_ids(tokens)


def test_names_of_tokens_among_the_pieces() -> None:
    """A model's own pieces of those names have ids that nothing has; the names are those of the tokens."""
    model = trained(user_defined_symbols="<mask>,<pad>")
    tokenizer = XLMRobertaTokenizer(model)
    assert tokenizer.pad_token_id == 1
    assert tokenizer.mask_token_id == len(tokenizer.sentence_pieces.names) + 1
    assert tokenizer("<mask>", add_special_tokens=False)["input_ids"] == [tokenizer.mask_token_id]


SETTINGS = (
    *("additional_special_tokens", "special_tokens", "added_tokens_decoder", "pad_token", "mask_token", "unk_token"),
    *("model_max_length", "padding_side", "sp_model_kwargs", "split_special_tokens", "self", "vocab_file"),
    *("tokenizer_file", "tokenizer_class", "clean_up_tokenization_spaces", "settings", "lang2id"),
)


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "tokenizer.json"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.dictionaries(st.sampled_from(SETTINGS), json_values, max_size=3))
def test_any_settings_load_or_are_refused(tmp_path: Path, name: str, found: dict[str, Any]) -> None:
    if name == "tokenizer.json":
        (tmp_path / name).write_text(json.dumps(unigram_content(a=-1.0)), encoding="utf-8")
    else:
        (tmp_path / name).write_bytes(trained())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(found), encoding="utf-8")
    try:
        tokenizer = XLMRobertaTokenizer.from_pretrained(tmp_path)
    except TFXLMError as error:
        assert str(error)
    else:
        assert tokenizer("the")["input_ids"]
