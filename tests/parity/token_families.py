"""Small tokenizers of every family, ours and those of `transformers`, from the same files."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.tokenizers.offsets import whole
from tests.tokenizers.toy import write_toy
from tests.tokenizers.toy_pieces import write_trained
from tfxlm.tokenizers import AutoTokenizer, XLMTokenizer
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.xlm import SPECIAL_SYMBOLS

Theirs = transformers.PreTrainedTokenizer

WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "lower-cased": partial(write_toy, do_lowercase_and_remove_accent=True),
    "cased": partial(write_toy, do_lowercase_and_remove_accent=False),
    "pieces": write_trained,
}

_loaded: dict[Path, tuple[Tokenizer, Theirs]] = {}


@pytest.fixture(scope="module", params=WRITERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small tokenizer."""
    return WRITERS[request.param](tmp_path_factory.mktemp("toy"))


def both(folder: Path) -> tuple[Tokenizer, Theirs]:
    """Loads both tokenizers, once."""
    if folder not in _loaded:
        _loaded[folder] = fresh(folder)
    return _loaded[folder]


def fresh(folder: Path, **options: Any) -> tuple[Tokenizer, Theirs]:
    """Loads both tokenizers."""
    ours = AutoTokenizer.from_pretrained(folder, **options)
    if isinstance(ours, XLMTokenizer):
        # Theirs keeps what is added in the default value of this argument, and so for all tokenizers of the process.
        options["additional_special_tokens"] = list(SPECIAL_SYMBOLS)
    return ours, transformers.AutoTokenizer.from_pretrained(folder, use_fast=False, **options)


def readable(theirs: Theirs, text: str) -> str:
    """Returns what theirs can read of a text: SentencePiece takes no halves of surrogate pairs."""
    return whole(text) if isinstance(theirs, transformers.XLMRobertaTokenizer) else text
