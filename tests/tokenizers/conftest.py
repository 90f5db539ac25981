"""Tokenizers made by hand."""

from pathlib import Path

import pytest

from tests.tokenizers.toy import write_toy
from tfxlm.tokenizers import XLMTokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy", lang2id={"de": 0, "en": 1, "fr": 2, "zh": 3})


@pytest.fixture
def tokenizer(folder: Path) -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(folder)


@pytest.fixture
def fair(folder: Path) -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(folder, preprocessing="fair")
