"""The released checkpoints, and what is put right about their settings."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tfxlm import AutoConfig, AutoTokenizer, TFAutoModelForCausalLM, TFXLMWithLMHeadModel, XLMConfig, XLMTokenizer
from tfxlm.errors import ArgumentError, InputError
from tfxlm.presets import RELEASED, find

# As the hub has them, but for what says nothing of the model.
CLM = {"model_type": "xlm", "emb_dim": 1024, "n_layers": 6, "n_heads": 8, "n_words": 64139, "n_langs": 2}
TINY = {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "n_words": 20, "n_langs": 2}


def folder_of(parent: Path, name: str, **config: Any) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm", **config}))
    return folder


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("FacebookAI/xlm-clm-enfr-1024", "FacebookAI/xlm-clm-enfr-1024"),
        ("xlm-clm-enfr-1024", "FacebookAI/xlm-clm-enfr-1024"),
        ("/data/clm_enfr_1024.pth", "FacebookAI/xlm-clm-enfr-1024"),
        ("/cache/models--FacebookAI--xlm-clm-enfr-1024/snapshots/0ab1", "FacebookAI/xlm-clm-enfr-1024"),
        ("FacebookAI/xlm-mlm-ende-1024", None),  # of other sizes
        ("somebody/my-clm", None),
    ],
)
def test_names(given: str, name: str | None) -> None:
    found = find(given, CLM)
    assert (found.name if found else None) == name


def test_table() -> None:
    assert len({released.name for released in RELEASED}) == len(RELEASED) == 18
    hundred = find("mlm_100_1280.pth", {})
    assert hundred is not None and len(hundred.languages) == 100 and hundred.languages[99] == "zh_yue"
    assert all(list(released.languages) == sorted(released.languages) for released in RELEASED)
    xxl = find("facebook/xlm-roberta-xxl", {"hidden_size": 4096})
    assert xxl is not None and xxl.licence == "MIT"


def test_causal_models_are_causal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path, "xlm-clm-enfr-1024", **CLM, causal=False)
    assert AutoConfig.from_pretrained(folder).causal
    assert "FacebookAI/xlm-clm-enfr-1024, which was trained with causal=True" in caplog.text
    assert "Pass corrections=False to keep what the files say." in caplog.text
    caplog.clear()
    assert not XLMConfig.from_pretrained(folder, corrections=False).causal
    assert not caplog.records
    assert not XLMConfig.from_pretrained(folder, causal=False).causal
    with pytest.raises(ArgumentError, match="corrections must be True or False, got 'no'"):
        XLMConfig.from_pretrained(folder, corrections="no")


def test_others_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fine_tuned = CLM | {"architectures": ["XLMForSequenceClassification"]}
    others = {"xlm-clm-enfr-1024": CLM | {"n_layers": 2}, "mine": CLM, "xlm-mlm-enfr-1024": CLM}
    for name, config in (*others.items(), ("fine/xlm-clm-enfr-1024", fine_tuned)):
        assert not AutoConfig.from_pretrained(folder_of(tmp_path, name, **config)).causal
    assert not caplog.records


def test_models_take_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TFXLMWithLMHeadModel(XLMConfig(**TINY))
    folder = tmp_path / "xlm-clm-enfr-1024"
    tiny.save_pretrained(folder)
    released = [released for released in RELEASED if "clm-enfr" in released.name]
    monkeypatch.setattr("tfxlm.presets.RELEASED", [type(released[0])(released[0].name, {}, config={"causal": True})])
    for model_class in (TFXLMWithLMHeadModel, TFAutoModelForCausalLM):
        assert model_class.from_pretrained(folder).config.causal
        assert not model_class.from_pretrained(folder, corrections=False).config.causal
        assert not model_class.from_pretrained(folder, config=tiny.config, corrections=True).config.causal


@pytest.fixture(scope="module")
def pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokens = ["<s>", "</s>", "<pad>", "<unk>", *(f"<special{index}>" for index in range(10))]
    words = ["Und</w>", "und</w>", "France</w>", "france</w>", "É</w>", "é</w>", "e</w>", "Я</w>", "я</w>"]
    letters = sorted({*"".join(word.removesuffix("</w>") for word in words)})
    merges = []
    for word in ("Und", "und", "France", "france"):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = ["".join(parts[:2])]
    last = {f"{letter}</w>" for letter in letters}
    made = {left + right for left, right in merges}
    return {word: i for i, word in enumerate(dict.fromkeys([*tokens, *words, *letters, *last, *made]))}, merges


def save_tokenizer(pieces: Any, folder: Path) -> Path:
    XLMTokenizer(*pieces).save_vocabulary(folder)
    return folder


def test_cased_vocabularies_keep_capitals(pieces: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_tokenizer(pieces, folder_of(tmp_path, "xlm-mlm-ende-1024"))
    for tokenizer in (XLMTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)):
        assert tokenizer.tokenize("Und É") == ["Und</w>", "É</w>"]
    assert "FacebookAI/xlm-mlm-ende-1024: do_lowercase_and_remove_accent=False, as it was trained" in caplog.text
    fair = XLMTokenizer.from_pretrained(folder, preprocessing="fair")
    assert (fair.case, fair.accents) == ("none", "keep")
    caplog.clear()
    for options in ({"corrections": False}, {"do_lowercase_and_remove_accent": True}):
        assert XLMTokenizer.from_pretrained(folder, **options).tokenize("Und É") == ["und</w>", "e</w>"]
    assert not caplog.records
    saved = tmp_path / "again" / "xlm-mlm-ende-1024"
    XLMTokenizer.from_pretrained(folder, corrections=False).save_pretrained(saved)
    assert XLMTokenizer.from_pretrained(saved).tokenize("Und") == ["und</w>"]  # what was saved was meant


def test_xnli_lower_cases_ascii_letters(pieces: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_tokenizer(pieces, folder_of(tmp_path, "xlm-mlm-tlm-xnli15-1024"))
    fair = XLMTokenizer.from_pretrained(folder, preprocessing="fair")
    assert fair.tokenize("Und Я É") == ["und</w>", "Я</w>", "e</w>"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="tfxlm"):
        assert XLMTokenizer.from_pretrained(folder).tokenize("Und Я É") == ["und</w>", "я</w>", "e</w>"]
    assert 'preprocessing="fair" is as it was trained' in caplog.text
    with pytest.raises(InputError, match="case and accents belong to preprocessing='fair'"):
        XLMTokenizer.from_pretrained(folder, case="ascii")


@pytest.mark.skipif("TFXLM_DATA" not in os.environ, reason="TFXLM_DATA is not set: the released vocabulary is there")
@pytest.mark.parametrize(
    ("name", "codes", "lang", "word"),
    [("xlm-mlm-ende-1024", "ende", "de", "Gespräche"), ("xlm-mlm-xnli15-1024", "xnli_15", "ru", "России")],
)
def test_released_vocabularies_have_the_words(name: str, codes: str, lang: str, word: str, tmp_path: Path) -> None:
    lists = (Path(os.environ["TFXLM_DATA"], "vocab", "xlm_cc_by_nc", f"{kind}_{codes}") for kind in ("codes", "vocab"))
    XLMTokenizer.from_fastbpe(*lists).save_vocabulary(tmp_path / name)
    true, wrong = (
        XLMTokenizer.from_pretrained(tmp_path / name, preprocessing="fair", corrections=wanted)
        for wanted in (True, False)
    )
    assert true.tokenize(word, lang=lang) == [f"{word}</w>"]
    assert len(wrong.tokenize(word, lang=lang)) > 1
