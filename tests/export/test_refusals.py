"""What is not exported: each is refused with a clear error, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.support import config, unchecked
from tfxlm.errors import ExportError, InputError, LanguageError, OutputExistsError
from tfxlm.export import export_model, exporter, golden
from tfxlm.models import (
    TFXLMForQuestionAnsweringSimple,
    TFXLMForSequenceClassification,
    TFXLMModel,
    TFXLMPreTrainedModel,
)

LANG2ID = {"de": 0, "en": 1, "fr": 2, "ru": 3}


class Tokenizer:
    """What an export needs of a tokenizer."""

    def __init__(self, largest: int = 59, lang2id: dict[str, int] | None = None) -> None:
        self.largest, self.lang2id = largest, lang2id

    def get_vocab(self) -> dict[str, int]:
        return {"<s>": 0, "last": self.largest}

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "vocab.json").write_text("{}")


@pytest.mark.parametrize(
    ("tokenizer", "kind", "message"),
    [
        (
            "tok",
            InputError,
            r"^tokenizer must be a tokenizer with save_pretrained, or None; got str\. Load one",
        ),
        (Tokenizer(60), InputError, r"The tokenizer has ids up to 60, but the model's vocab_size is 60\. Export the"),
        (
            Tokenizer(lang2id={"en": 0, "de": 1}),
            LanguageError,
            r"The tokenizer's languages are \{'en': 0, 'de': 1\}, the model's are \{'de': 0, .*\}\. Export the",
        ),
    ],
    ids=["no-tokenizer", "larger-vocabulary", "other-languages"],
)
def test_tokenizers_of_another_model(tokenizer: Any, kind: type[Exception], message: str, tmp_path: Path) -> None:
    model = TFXLMModel(config(lang2id=LANG2ID))
    with pytest.raises(kind, match=message):
        export_model(model, tokenizer, tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lang2id", [None, {}, dict(reversed(LANG2ID.items()))], ids=["none", "empty", "same"])
def test_tokenizers_that_fit(lang2id: Any, tmp_path: Path) -> None:
    model = TFXLMModel(config(lang2id=LANG2ID))
    with unchecked():
        folder = export_model(model, Tokenizer(lang2id=lang2id), tmp_path / "served")
    assert (folder / "assets.extra" / "tokenizer" / "vocab.json").is_file()


def test_what_is_no_model_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="export_model exports tfxlm models, got str"):
        export_model("model", None, tmp_path / "served")


def test_a_class_without_signatures(tmp_path: Path) -> None:
    message = (
        r"^TFXLMPreTrainedModel has no serving signatures\. There are some for models without a head, and for those "
        r"that derive from SequenceClassification, .*LanguageModeling \(tfxlm\.models\.tasks\)\.$"
    )
    with pytest.raises(ExportError, match=message):
        export_model(TFXLMPreTrainedModel(config()), None, tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["summary_use_proj", "summary_proj_to_labels"])
def test_a_classifier_whose_answers_have_no_labels(field: str, tmp_path: Path) -> None:
    model = TFXLMForSequenceClassification(config(**{field: False}))
    message = (
        r"^The head of this TFXLMForSequenceClassification gives 24 numbers for a text, but id2label names 3 labels, .*"
        r"summary_use_proj=True and summary_proj_to_labels=True\.$"
    )
    with pytest.raises(ExportError, match=message):
        export_model(model, None, tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_answer_len": 3}, r"^The answers of .*Simple have no option 'max_answer_len'\. They have: top_k, max_an"),
        ({"top_k": 0}, r"^top_k must be a positive integer, got 0\."),
        ({"max_answer_length": 2.5}, r"^max_answer_length must be a positive integer, got 2\.5\."),
        ({"top_k": True}, r"^top_k must be a positive integer, got True\."),
    ],
)
def test_options_that_answers_do_not_have(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = TFXLMForQuestionAnsweringSimple(config(id2label=None))
    with pytest.raises(InputError, match=message):
        export_model(model, None, tmp_path / "served", **options)
    assert list(tmp_path.iterdir()) == []


def test_options_of_answers_that_have_none(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^The answers of TFXLMModel have no option 'top_k'\. They have: pooling, normalize\.$"
    ):
        export_model(TFXLMModel(config()), None, tmp_path / "served", top_k=3)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "served").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"served' is a file"):
        export_model(TFXLMModel(config()), None, tmp_path / "served")
    assert (tmp_path / "served").read_text() == "mine"


def test_an_export_that_answers_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_a_little(folder: Path, requests: Any, expected: Any, tolerance: float) -> None:
        found = golden.flat(expected)
        found["outputs/logits"] = found["outputs/logits"] + 0.01
        golden._compare(expected, found, tolerance)

    monkeypatch.setattr(exporter, "check_in_fresh_process", off_by_a_little)
    with pytest.raises(ExportError, match=r"answers differently from the model: output 'logits'.*off by 0\.01"):
        export_model(TFXLMForSequenceClassification(config()), None, tmp_path / "served")
    assert list((tmp_path / "served").iterdir()) == []


def test_another_label_is_a_difference() -> None:
    message = r"output 'label' of signature 'serving_default' is off by inf, allowed is 0\.05\."
    with pytest.raises(ExportError, match=message):
        golden._compare(
            {"serving_default": {"label": np.array(["non"])}}, {"serving_default/label": np.array(["oui"])}, 5e-2
        )


def test_an_export_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^The export does not load in a fresh process:\n(?s:.*)SavedModel file"):
        golden.check_in_fresh_process(tmp_path, {"x": {"y": np.zeros(1)}}, {}, 1e-4)


def test_an_export_that_does_not_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "TIMEOUT_SECONDS", 0.01)
    with pytest.raises(ExportError, match=r"^The export did not load and answer within 0\.01 s\.$"):
        golden.check_in_fresh_process(tmp_path, {"x": {"y": np.zeros(1)}}, {}, 1e-4)


@pytest.mark.parametrize(("found", "shape"), [({}, "None"), ({"outputs/logits": np.zeros((2, 1))}, r"\(2, 1\)")])
def test_an_export_whose_outputs_have_other_shapes(found: dict[str, np.ndarray], shape: str) -> None:
    message = rf"has another shape for output 'logits' of signature 'outputs': {shape}, not \(2, 3\)\."
    with pytest.raises(ExportError, match=message):
        golden._compare({"outputs": {"logits": np.zeros((2, 3))}}, found, 1e-4)
