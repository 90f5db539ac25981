"""Files of all classes: what `transformers` writes is read bit for bit, and the reverse; and configurations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tfxlm
from tests.parity.classes import KINDS, WITH_LOSS
from tests.parity.reference import QUIET, Case, cases, close, compare_outputs, make_case, run_reference
from tfxlm.checkpoints import open_checkpoint
from tfxlm.models.loading import weights_by_path

pytestmark = QUIET


@cases()
def test_weights_come_back_bit_for_bit(case: Case, tmp_path: Path) -> None:
    case.model.save_pretrained(tmp_path)
    loaded, info = type(case.reference).from_pretrained(tmp_path, output_loading_info=True, **case.options)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), info
    before, after = case.reference.state_dict(), loaded.state_dict()
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    for field in case.family.random_config(np.random.default_rng(0), 0):
        assert getattr(loaded.config, field) == getattr(case.reference.config, field), field


@pytest.mark.parametrize(
    "options",
    [{"safe_serialization": False}, {"max_shard_size": "8KB"}, {"safe_serialization": False, "max_shard_size": "8KB"}],
    ids=["bin", "sharded", "sharded_bin"],
)
@cases(indices=[1])
def test_file_formats(case: Case, options: dict[str, Any], tmp_path: Path) -> None:
    case.reference.save_pretrained(tmp_path, **options)
    files = {path.name for path in tmp_path.iterdir()}
    assert any("index" in name for name in files) == ("max_shard_size" in options), files
    again = case.kind.model.from_pretrained(tmp_path, **case.options)
    expected = weights_by_path(case.model)
    for path, weight in weights_by_path(again).items():
        assert np.array_equal(weight.numpy(), expected[path].numpy()), path


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_file(name: str, tmp_path: Path) -> None:
    case = make_case(name, 2, tmp_path / "float32")
    case.reference.half().save_pretrained(tmp_path / "float16")
    options = case.family.as_reference | case.options
    case.model = case.kind.model.from_pretrained(tmp_path / "float16", **options)
    case.reference = case.reference.float()
    inputs, real = case.batch()
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "float16 file")


@pytest.mark.parametrize("name", WITH_LOSS)
def test_base_file_into_head_model(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kind = KINDS[name]
    case = make_case(kind.family.body, 4, tmp_path)
    config = {"hidden_size": case.config.hidden_size, **case.config.to_dict()}
    with caplog.at_level(logging.WARNING, "tfxlm"):
        model = kind.model.from_pretrained(tmp_path, **kind.adapt(config))
    new = set(weights_by_path(model)) - set(weights_by_path(case.model))
    assert new and all(path in caplog.text for path in new)
    drawn, real = case.drawn()
    inputs = {name: drawn[name] for name in ("input_ids", "attention_mask")}
    reference = run_reference(case, inputs)
    inputs = {name: value[:, None] if kind.has_choices else value for name, value in inputs.items()}
    hidden_states = model(inputs, output_hidden_states=True).hidden_states
    close(hidden_states[-1], reference["last_hidden_state"], real)


@pytest.mark.parametrize("name", WITH_LOSS)
def test_head_file_into_base_model(name: str, tmp_path: Path) -> None:
    case = make_case(name, 4, tmp_path)
    body = KINDS[case.family.body]
    # Few classes with a head have a pooling layer, where there is such a thing.
    options = body.options[-1]
    model, report = body.model.from_pretrained(
        tmp_path, output_loading_info=True, **case.family.as_reference, **options
    )
    reference = getattr(transformers, case.family.body).from_pretrained(tmp_path, **options)
    with open_checkpoint(tmp_path) as checkpoint:
        names = set(checkpoint.names())
    own = {f"{reference.base_model_prefix}.{path}" for path in reference.state_dict()}
    assert {path for path, _ in report.unused} == names - own
    assert not report.new
    case = Case(case.family.body, reference, model, case.rng)
    inputs, real = case.batch()
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, name)


@pytest.mark.parametrize("dim", [8, 9])
def test_sinusoidal_table_of_a_new_model(dim: int) -> None:
    options = {"vocab_size": 11, "emb_dim": dim, "n_heads": 1, "n_layers": 1, "sinusoidal_embeddings": True}
    reference = transformers.XLMModel(transformers.XLMConfig(**options))
    model = tfxlm.TFXLMModel(tfxlm.XLMConfig(**options))
    table = weights_by_path(model)["transformer/embeddings/position/embeddings"]
    assert np.array_equal(table.numpy(), reference.position_embeddings.weight.detach().numpy())


def test_defaults_of_the_configuration(tmp_path: Path) -> None:
    reference = transformers.XLMConfig()
    ours = tfxlm.XLMConfig()
    fields = ours.to_dict()
    for name in fields:
        # Fields that the reference reads, but does not set itself, are optional there.
        if name not in ("model_type", "summary_over_padding", "summary_last_dropout", "asm_div_value"):
            assert getattr(reference, name) == getattr(ours, name), name
    ours.save_pretrained(tmp_path)
    back = transformers.XLMConfig.from_pretrained(tmp_path)
    assert back.emb_dim == 2048 and back.n_words == 30145 and back.num_labels == 2
