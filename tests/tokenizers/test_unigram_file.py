"""``tokenizer.json``: models of the unigram kind in the format of the `tokenizers` library."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tokenizers.offsets import check_places
from tests.tokenizers.toy import hard_texts
from tests.tokenizers.toy_pieces import trained, unigram_content
from tfxlm.errors import CheckpointNotFoundError, TFXLMError, TokenizerError
from tfxlm.tokenizers import AddedToken, XLMRobertaTokenizer

PIECES = {"▁": -4.0, "a": -5.0, "b": -5.5, "▁a": -2.0, "ab": -1.5, "▁ab": -6.0, ",": -3.0}
CONTENT = unigram_content(**PIECES)
VOCABULARY = CONTENT["model"]["vocab"]


def written(folder: Path, content: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """Returns the content with other values; a __ in a name goes inwards."""
    content = copy.deepcopy(CONTENT)
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner: Any = content
        for key in outer:
            inner = inner[int(key) if key.isdigit() else key]
        inner[int(last) if last.isdigit() else last] = value
    return content


def test_ids_are_those_of_the_library(tmp_path: Path) -> None:
    path = written(tmp_path, CONTENT)
    ours, library = XLMRobertaTokenizer(tokenizer_file=path), tokenizers.Tokenizer.from_file(str(path))
    assert ours.get_vocab() == library.get_vocab()
    for text in ("a b ab,  ab", "", "abab aab", "<s>a<mask> b", "é ab"):
        assert ours(text)["input_ids"] == library.encode(text).ids, text
        assert ours(text, "ab")["input_ids"] == library.encode(text, "ab").ids, text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=hard_texts)
def test_the_written_file_says_the_same(text: str) -> None:
    assert BACK(text, return_offsets_mapping=True) == MODEL(text, return_offsets_mapping=True)
    check_places(BACK, text)


def _there_and_back() -> tuple[XLMRobertaTokenizer, XLMRobertaTokenizer]:
    import tempfile

    tokenizer = XLMRobertaTokenizer(trained())
    tokenizer.add_tokens(AddedToken("x y", lstrip=True, normalized=False))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return tokenizer, XLMRobertaTokenizer(tokenizer_file=Path(folder, "tokenizer.json"))


MODEL, BACK = _there_and_back()


def test_the_library_reads_the_written_file(tmp_path: Path) -> None:
    MODEL.save_pretrained(tmp_path)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.get_vocab() == MODEL.get_vocab() == BACK.get_vocab()
    for text in ("Hello, the world x y", "½ e\u0301 <mask> singing", "L'été 日"):
        assert library.encode(text, "the").ids == MODEL(text, "the")["input_ids"]


def test_only_this_file(tmp_path: Path) -> None:
    written(tmp_path, CONTENT)
    tokenizer = XLMRobertaTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("ab <mask>") == ["▁", "ab", "<mask>"]  # the mask takes the white space before it
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "tokenizer.json").unlink()
    assert XLMRobertaTokenizer.from_pretrained(tmp_path / "saved").get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "bpe"},
        {"vocab_size": 600, "byte_fallback": True},
        {"treat_whitespace_as_suffix": True},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False},
        {"user_defined_symbols": "wor"},
    ],
)
def test_what_the_format_cannot_say_is_not_written(tmp_path: Path, options: dict[str, Any]) -> None:
    XLMRobertaTokenizer(trained(**options)).save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "sentencepiece.bpe.model").exists()


def test_ids_that_the_library_would_number_otherwise(tmp_path: Path) -> None:
    tokenizer = XLMRobertaTokenizer(trained(), added_tokens_decoder={"5000": "<far>"})
    tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert XLMRobertaTokenizer.from_pretrained(tmp_path)("<far>")["input_ids"] == [0, 5000, 2]


def test_a_vocabulary_without_the_mask(tmp_path: Path) -> None:
    path = written(tmp_path, changed(model__vocab=VOCABULARY[:-1]))
    assert XLMRobertaTokenizer(tokenizer_file=path).mask_token_id == len(VOCABULARY) - 1


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"post_processor": None},
        {"pre_tokenizer": METASPACE},
        {"normalizer": {"type": "Sequence", "normalizers": [PRECOMPILED, {"type": "Strip", "strip_left": True}]}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}},
        {"added_tokens": None},
        {"added_tokens": []},
        {"truncation": {"max_length": 3}, "padding": {"strategy": {"Fixed": 9}}},
    ],
)
def test_other_ways_to_say_it(tmp_path: Path, change: dict[str, Any]) -> None:
    expected = XLMRobertaTokenizer(tokenizer_file=written(tmp_path, CONTENT))("ab a")
    assert XLMRobertaTokenizer(tokenizer_file=written(tmp_path, changed(**change)))("ab  a") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty.*Restore the file, or use the SentencePiece model"),
        ("{", "is not valid JSON"),
        ("[]", "should hold a JSON object"),
        ("{}", "its pre_tokenizer should put '▁' in front of every word, but is"),
        (changed(pre_tokenizer={"type": "BertPreTokenizer"}), "its pre_tokenizer should put"),
        (changed(pre_tokenizer=METASPACE | {"replacement": "_"}), "its pre_tokenizer should put"),
        (changed(pre_tokenizer=METASPACE | {"prepend_scheme": "first"}), "its pre_tokenizer should put"),
        (changed(pre_tokenizer={"type": "Sequence"}), "its pre_tokenizer should have a list of 'pretokenizers'"),
        (changed(normalizer={"type": "Lowercase"}), "its normalizer has a step that such a model has not: .*Lowercase"),
        (changed(normalizer="x"), "its normalizer has a step that such a model has not: 'x'"),
        (changed(normalizer=PRECOMPILED | {"precompiled_charsmap": "%"}), "its precompiled_charsmap is not base64"),
        (
            changed(normalizer={"type": "Sequence", "normalizers": [PRECOMPILED, PRECOMPILED]}),
            "its normalizer has several tables of characters",
        ),
        (
            changed(normalizer=PRECOMPILED | {"precompiled_charsmap": "AAAA"}),
            "is not a SentencePiece model, or a damaged",
        ),
        (changed(post_processor={"type": "ByteLevel"}), "its post_processor should have a list of 'single'"),
        (
            changed(post_processor__pair=CONTENT["post_processor"]["single"]),
            "its post_processor frames texts as <s> A </s> <s> A </s>, not as <s> A </s> <s> A </s> </s> B </s>",
        ),
        (
            changed(post_processor__single__0={"SpecialToken": {"id": "<pad>", "type_id": 0}}),
            "its post_processor frames texts as <pad> A </s> <s> A .*, not as <s> A </s> <s> A",
        ),
        (
            changed(post_processor__single__0={"Sequence": {"id": "<s>", "type_id": 0}}),
            "its post_processor frames texts as",
        ),
        (changed(post_processor__pair=["x"]), "its post_processor frames texts as"),
        (changed(model=None), "its model should have a list of 'vocab', but is None"),
        (changed(model__vocab={"a": 0}), "its model should have a list of 'vocab'"),
        (changed(model__type="BPE"), "its model is of type 'BPE', or falls back on bytes"),
        (changed(model__byte_fallback=True), "or falls back on bytes"),
        (changed(model__unk_id=0), "its unk_id should be 3, but is 0"),
        (changed(model__vocab__0=["<unk>", 0.0]), r"its vocabulary begins with .*, not with <s>, <pad>, </s>, <unk>"),
        (changed(model__vocab=[]), "its vocabulary begins with"),
        (changed(model__vocab__5=["a"]), r"entry 5 of its vocabulary should be a piece and its score, but is \['a'\]"),
        (changed(model__vocab__5=["a", "b"]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["a", 1e300]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["a", -(10**400)]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["a", float("inf")]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["a", float("nan")]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["\ud800", 0.0]), "entry 5 of its vocabulary should be"),
        (changed(model__vocab__5=["", 0.0]), "is not a SentencePiece model, or a damaged one"),
        (changed(model__vocab__5=VOCABULARY[6]), "is not a SentencePiece model, or a damaged one"),
        (changed(added_tokens={}), "its added_tokens should be a list, but are a dict"),
        (changed(added_tokens__0={"id": "x"}), "its added_tokens should have an id and a content each, but one is"),
        (changed(added_tokens__0={"id": 7, "content": "<s>"}), "has the id 7, but the vocabulary gives it 0"),
    ],
)
def test_malformed_files(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TokenizerError, match=message):
        XLMRobertaTokenizer(tokenizer_file=path)


def test_malformed_settings(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="added_tokens_decoder should be a mapping, but is a list"):
        XLMRobertaTokenizer(tokenizer_file=written(tmp_path, CONTENT), added_tokens_decoder=["<s>"])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"There is no file '.*tokenizer.json'"):
        XLMRobertaTokenizer(tokenizer_file=tmp_path / "tokenizer.json")


places = st.sampled_from(
    [
        *("model", "model__vocab", "model__vocab__0", "model__vocab__5", "model__unk_id", "normalizer"),
        *("post_processor", "post_processor__single", "post_processor__pair__1", "added_tokens", "added_tokens__1"),
        "pre_tokenizer",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "vocab", "id"]), inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=places, value=values)
def test_any_content_loads_or_is_refused(tmp_path: Path, place: str, value: Any) -> None:
    try:
        tokenizer = XLMRobertaTokenizer(tokenizer_file=written(tmp_path, changed(**{place: value})))
    except TFXLMError as error:
        assert str(error)
    else:
        assert tokenizer("ab")["input_ids"]
