"""The tokenizer class that a folder asks for."""

import json
from pathlib import Path
from typing import Any

import pytest

import tfxlm
from tests.tokenizers.toy import write_toy
from tests.tokenizers.toy_pieces import unigram_content, write_trained
from tfxlm.errors import ArgumentError, CheckpointNotFoundError, TokenizerError
from tfxlm.tokenizers import AutoTokenizer, XLMRobertaTokenizer, XLMTokenizer


def write_both(folder: Path) -> Path:
    """Writes the vocabularies of both families and no settings."""
    (write_trained(write_toy(folder)) / "tokenizer_config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("settings", "model", "expected"),
    [
        ({"tokenizer_class": "XLMTokenizer"}, {"model_type": "xlm-roberta"}, XLMTokenizer),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, {"model_type": "xlm"}, XLMRobertaTokenizer),
        ({"tokenizer_class": "XLMRobertaTokenizerFast"}, None, XLMRobertaTokenizer),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "xlm-roberta"}, XLMRobertaTokenizer),
        ({}, {"tokenizer_class": "XLMRobertaTokenizer", "model_type": "xlm"}, XLMRobertaTokenizer),
        (None, {"model_type": "xlm"}, XLMTokenizer),
        (None, {"model_type": "xlm-roberta"}, XLMRobertaTokenizer),
        (None, {"model_type": "xlm-roberta-xl"}, XLMRobertaTokenizer),
        (None, {"architectures": ["XLMWithLMHeadModel"]}, XLMTokenizer),
        (None, {"architectures": ["XLMRobertaXLForMaskedLM"], "model_type": "xlm"}, XLMRobertaTokenizer),
        (None, None, XLMTokenizer),  # the files of both are there
    ],
)
def test_what_names_the_class(tmp_path: Path, settings: Any, model: Any, expected: type) -> None:
    write_both(tmp_path)
    for name, content in (("tokenizer_config.json", settings), ("config.json", model)):
        if content is not None:
            (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, padding_side="left")
    assert type(tokenizer) is expected
    assert tokenizer.padding_side == "left"


def test_files_alone_name_the_class(tmp_path: Path) -> None:
    (write_toy(tmp_path / "xlm") / "tokenizer_config.json").unlink()
    (write_trained(tmp_path / "model") / "tokenizer_config.json").unlink()
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "tokenizer.json").write_text(json.dumps(unigram_content(a=-1.0)), encoding="utf-8")
    found = [type(AutoTokenizer.from_pretrained(tmp_path, subfolder=name)) for name in ("xlm", "model", "file")]
    assert found == [XLMTokenizer, XLMRobertaTokenizer, XLMRobertaTokenizer]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertTokenizerFast"},
            "has tokenizer_class 'BertTokenizerFast'",
        ),
        ("config.json", {"tokenizer_class": "BertTokenizer"}, "has tokenizer_class 'BertTokenizer' in config.json"),
        ("config.json", {"model_type": "bert"}, "has model_type 'bert' in config.json: there is no tokenizer class"),
        ("other.json", {}, "has no tokenizer_config.json or config.json that names one, nor its vocabulary"),
    ],
)
def test_no_class(tmp_path: Path, name: str, content: dict[str, Any], message: str) -> None:
    (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TokenizerError, match=message):
        AutoTokenizer.from_pretrained(tmp_path)
    known = "There is XLMTokenizer, which reads vocab.json and merges.txt; XLMRobertaTokenizer, which reads sent"
    with pytest.raises(TokenizerError, match=known):
        AutoTokenizer.from_pretrained(tmp_path)


def test_malformed_settings(tmp_path: Path) -> None:
    (write_both(tmp_path) / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"is not valid JSON.*Restore the file"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_class_that_lacks_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta"}', encoding="utf-8")
    with pytest.raises(CheckpointNotFoundError, match=r"has no sentencepiece.bpe.model and no tokenizer.json, one of"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_no_instances() -> None:
    assert tfxlm.AutoTokenizer is AutoTokenizer
    with pytest.raises(ArgumentError, match=r"AutoTokenizer chooses a class and has no instances. Use AutoTokenizer"):
        AutoTokenizer()
