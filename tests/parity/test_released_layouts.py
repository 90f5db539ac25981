"""Files as they were released, which newer versions of `transformers` write otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tfxlm
from tests.parity.reference import Case, compare_outputs, make_case, run_reference

NAMES_OF_CONLL = ["B-LOC", "B-MISC", "B-ORG", "I-LOC", "I-MISC", "I-ORG", "I-PER", "O"]


def write_as_released(case: Case, folder: Path, tensors: dict[str, torch.Tensor], **fields: Any) -> None:
    """Writes ``pytorch_model.bin`` with some more tensors than the class has, and a ``config.json`` of its time."""
    config = case.reference.config.to_diff_dict()
    for name in ("transformers_version", "dtype", "torch_dtype", "id2label", "label2id"):
        config.pop(name, None)
    positions = case.reference.config.max_position_embeddings
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | fields))
    buffer = {"roberta.embeddings.position_ids": torch.arange(positions).expand((1, -1))}
    torch.save({**buffer, **case.reference.state_dict(), **tensors}, folder / "pytorch_model.bin")


def pooler(width: int) -> dict[str, torch.Tensor]:
    """A pooling layer, which older versions gave to classes that do not use it."""
    return {"roberta.pooler.dense.weight": torch.randn(width, width), "roberta.pooler.dense.bias": torch.randn(width)}


def test_a_fine_tuned_token_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = make_case("XLMRobertaForTokenClassification", 0, tmp_path / "new", num_labels=8, type_vocab_size=1)
    labels = dict(enumerate(NAMES_OF_CONLL))
    write_as_released(
        case,
        tmp_path / "old",
        pooler(case.config.hidden_size),
        _num_labels=8,
        architectures=["XLMRobertaForTokenClassification"],
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
        output_past=True,
    )
    caplog.clear()
    case.model, report = tfxlm.TFXLMRobertaForTokenClassification.from_pretrained(
        tmp_path / "old", output_loading_info=True, **case.family.as_reference
    )
    assert case.config.id2label == labels
    assert not report.new
    assert {name for name, _ in report.unused} == set(pooler(1))
    assert not any("new" in record.getMessage() for record in caplog.records)
    inputs, real = case.batch()
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "as released")
    again = tfxlm.TFAutoModelForTokenClassification.from_pretrained(tmp_path / "old")
    assert type(again) is tfxlm.TFXLMRobertaForTokenClassification and again.config.id2label == labels


@pytest.mark.parametrize("stem", ["XLMRoberta", "XLMRobertaXL"])
def test_a_pretrained_model(stem: str, tmp_path: Path) -> None:
    # The names say the same as others do: the output layer's matrix and bias.
    case = make_case(f"{stem}ForMaskedLM", 0, tmp_path / "new", type_vocab_size=1)
    tensors = pooler(case.config.hidden_size)
    assert {"lm_head.decoder.weight", "lm_head.decoder.bias"} < set(case.reference.state_dict())
    write_as_released(case, tmp_path / "old", tensors, architectures=[f"{stem}ForMaskedLM"])
    options = {"output_loading_info": True, **case.family.as_reference}
    case.model, report = case.kind.model.from_pretrained(tmp_path / "old", **options)
    assert not report.new and {name for name, _ in report.unused} == set(tensors)
    inputs, real = case.batch()
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "as released")
    body, report = getattr(tfxlm, f"TF{stem}Model").from_pretrained(tmp_path / "old", **options)
    assert not report.new and {name.partition(".")[0] for name, _ in report.unused} == {"lm_head"}
    reference = getattr(transformers, f"{stem}Model").from_pretrained(tmp_path / "old")
    case = Case(case.family.body, reference, body, case.rng)
    del inputs["labels"]
    compare_outputs(case, body(inputs), run_reference(case, inputs), inputs, real, "body")
