"""Pre-training from settings to a folder with a model, and what it says on the way."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from rich.console import Console
from tensorflow.core.util import event_pb2
from typer.testing import CliRunner

from tests.tokenizers.toy_pieces import write_trained
from tests.training.support import LANGUAGES, LIVES, MODEL, make_store, settings
from tfxlm import AutoTokenizer, TFAutoModelForPreTraining, TFXLMRobertaForMaskedLM, TFXLMWithLMHeadModel
from tfxlm.cli import app
from tfxlm.data import PretrainingData, open_store
from tfxlm.data.prepare import prepare_store
from tfxlm.errors import ConfigError, CorruptFileError, OutputExistsError, UnsafeFileError, UnsupportedFileError
from tfxlm.training import PretrainingConfig, PretrainingResult, callbacks, make_plan, pretrain
from tfxlm.training.distribution import Devices
from tfxlm.training.metrics import Figures
from tfxlm.training.recipes import make_config, make_data
from tfxlm.training.run import Run

ENTRIES = {"mlm:en", "mlm:de", "clm:fr", "tlm:en-de"}


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainingResult, str]:
    """The output of a training of a mixture, what it returned, and what it printed."""
    output, printed = tmp_path_factory.mktemp("trained") / "run", io.StringIO()
    result = pretrain(settings(store, output, steps=18), console=Console(file=printed, width=160))
    return output, result, printed.getvalue()


def held_out_loss(model: Any, data: PretrainingData, name: str) -> float:
    """The loss of held-out text, by numpy."""
    objective, language = name.split(":")
    total = count = 0.0
    for inputs, labels, weights in data.held_out(objective, language):
        logits = np.asarray(model(inputs).logits, np.float64)
        taken = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
        total += ((np.log(np.exp(logits).sum(-1)) - taken) * weights.numpy()).sum()
        count += weights.numpy().sum()
    return total / count


def test_figures_are_those_of_the_model_that_was_saved(trained: Any, store: Path) -> None:
    output, result, _ = trained
    model = TFAutoModelForPreTraining.from_pretrained(output / "model")
    data, _ = make_data(PretrainingConfig.from_dict(settings(store, output)))
    assert type(model) is TFXLMWithLMHeadModel and set(result.held_out) == ENTRIES and result.step == 18
    for name, figures in result.held_out.items():
        assert figures.loss == pytest.approx(held_out_loss(model, data, name), rel=1e-4), name
        # It has learned something: guessing gives the size of the vocabulary.
        assert figures.perplexity < 0.7 * model.config.vocab_size
    assert model.config.lang2id == LANGUAGES and model.config.n_langs == 3 and not model.config.causal
    assert sum(figures.batches for figures in result.trained.values()) == 18
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    assert model.config.mask_token_id == tokenizer.mask_token_id and model.config.pad_index == tokenizer.pad_token_id
    written = json.loads((output / "results.json").read_text())
    assert written["held_out"]["mlm:en"]["perplexity"] == result.held_out["mlm:en"].perplexity
    assert 0 <= written["waiting_for_data"] < 1


def test_what_is_printed(trained: Any) -> None:
    _, result, printed = trained
    lines = printed.splitlines()
    assert any(line.startswith("step 3/18  ") and "tokens/s" in line and "waiting for data" in line for line in lines)
    last = next(line for line in lines if line.startswith("step 18 held out"))
    for name, figures in result.held_out.items():
        assert f"{name} {figures.perplexity:.1f} ({figures.accuracy:.0%})" in last
        row = next(line for line in lines if line.lstrip().startswith(name))
        batches = result.trained[name].batches if name in result.trained else 0
        assert row.split()[1] == str(batches) and f"{figures.perplexity:.1f}" in row
    assert "step 18" in lines[-1] and "of a step was spent waiting for data" in lines[-1]


def test_tensorboard(trained: Any) -> None:
    output, result, _ = trained
    (file,) = (output / "logs").iterdir()
    found: dict[str, dict[int, float]] = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name in ("scalars", "")
            found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert found["learning_rate"][18] == pytest.approx(1e-2 * math.sqrt(4 / 18))
    for name, figures in result.held_out.items():
        assert list(found[f"held_out/{name}/perplexity"]) == [6, 12, 18]
        assert found[f"held_out/{name}/accuracy"][18] == pytest.approx(figures.accuracy)
    assert {"train/clm:fr/perplexity", "gradient_norm", "waiting_for_data", "tokens_per_second"} <= set(found)


def test_checkpoints_are_the_last_and_the_best(trained: Any) -> None:
    output, _, _ = trained
    state = json.loads((output / "checkpoints/step-000000018/state.json").read_text())
    steps = {int(path.name.removeprefix("step-")) for path in (output / "checkpoints").iterdir()}
    # Every fourth, the last, and those of evaluations that were the best until then; three of them stay.
    assert steps == {12, 16, 18} | {state["best_step"]}


def test_a_run_that_is_over(trained: Any, store: Path, tmp_path: Path) -> None:
    output, result, _ = trained
    given = settings(store, output, steps=18)
    with pytest.raises(OutputExistsError, match=r"has a training already\. Resume it \(--resume\), or give another"):
        pretrain(given)
    again = pretrain(given, resume=True)
    assert (again.step, again.held_out) == (18, result.held_out)
    for changes, message in (
        (
            {"seed": 1, "length": 32},
            r"cannot be resumed with other settings: length was 16 and is 32; seed was 0 and is",
        ),
        ({"store": str(make_store(tmp_path / "other", 149))}, r"other settings: the store has other texts\. Give it"),
    ):
        with pytest.raises(ConfigError, match=message):
            pretrain({**given, **changes}, resume=True)


FIGURES = {"loss_sum": 1.0, "tokens": 2.0, "correct": 1.0, "batches": 1}
STATES_THAT_CANNOT_BE: list[tuple[dict[str, Any], str]] = [
    ({"step": 19}, "step is 19, not 18"),
    ({"step": 18.0}, "step is 18.0, not 18"),
    ({"config": []}, "config is missing, or no object"),
    ({"store": None}, "store is missing, or no object"),
    (
        {"total": {"mlm:en": {"tokens": 1}}},
        "the figures of 'mlm:en' are others than loss_sum, tokens, correct, batches",
    ),
    ({"total": {"mlm:en": {**FIGURES, "batches": True}}}, "the figures of 'mlm:en' cannot be"),
    ({"held_out": {"mlm:en": {**FIGURES, "tokens": "2"}}}, "the figures of 'mlm:en' cannot be"),
    ({"held_out": {"mlm:en": {**FIGURES, "correct": 3}}}, "the figures of 'mlm:en' cannot be"),
    ({"held_out": {"mlm:en": {**FIGURES, "loss_sum": 10**400}}}, "the figures of 'mlm:en' cannot be"),
    ({"best_step": "../../x"}, r"the best step cannot be '../../x' with a loss of"),
    ({"best_step": 19}, "the best step cannot be 19 with a loss of"),
    ({"best_loss": None}, r"the best step cannot be \d+ with a loss of None"),
    ({"without_better": -1}, "without_better is -1"),
]


def test_checkpoints_that_are_damaged(trained: Any, store: Path, tmp_path: Path) -> None:
    source = trained[0] / "checkpoints/step-000000018"
    folder = tmp_path / "run/checkpoints/step-000000018"
    folder.mkdir(parents=True)
    state, weights = (source / "state.json").read_text(), (source / "state.safetensors").read_bytes()
    cases: list[tuple[str, bytes, Any, str]] = [
        (state, weights[:-8], CorruptFileError, "cannot be read: .* to resume from the checkpoint before it"),
        (
            state,
            safetensors.numpy.save({"x": np.zeros(1)}),
            Exception,
            "has 1 arrays, which do not fit the .* variables",
        ),
        *(
            (json.dumps({**json.loads(state), **changes}), weights, CorruptFileError, f"not what was written: {what}")
            for changes, what in STATES_THAT_CANNOT_BE
        ),
        (state.replace('"version": 1', '"version": 9'), weights, UnsupportedFileError, "of format .*, version 9, but"),
    ]
    for text, data, error, message in cases:
        (folder / "state.json").write_text(text)
        (folder / "state.safetensors").write_bytes(data)
        with pytest.raises(error, match=message):
            pretrain(settings(store, tmp_path / "run", steps=18), resume=True)
    (folder / "state.json").unlink()
    (folder / "state.json").symlink_to(source / "state.json")
    with pytest.raises(UnsafeFileError, match="is a link that leads out of its folder"):
        pretrain(settings(store, tmp_path / "run", steps=18), resume=True)


def test_early_stopping_and_the_best(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: Iterator[float] = iter([3.0, 2.0, 4.0, 2.5, 1.0])
    monkeypatch.setattr(callbacks, "evaluate", lambda *_: {"mlm:en": Figures(next(losses), 1.0)})
    changes = {**LIVES, "evaluate_every": 2, "checkpoint_every": 100, "keep_checkpoints": 1, "patience": 2}
    changes |= {"final": "best", "monitor": "mlm:en"}
    printed = io.StringIO()
    result = pretrain(settings(store, tmp_path / "run", **changes), console=Console(file=printed, width=160))
    assert result.step == 4 and next(losses) == 1.0
    # All figures are those of the best, not of the last.
    assert result.held_out["mlm:en"].loss == 2.0 and result.trained["mlm:en"].batches == 4
    row = next(line.split() for line in printed.getvalue().splitlines() if line.lstrip().startswith("mlm:en"))
    assert row[1] == "4" and row[5] == "7.4"
    written = json.loads((tmp_path / "run/results.json").read_text())
    assert written["held_out"]["mlm:en"]["loss"] == 2.0 and written["trained"]["mlm:en"]["batches"] == 4
    steps = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert steps == ["step-000000004", "step-000000008"]
    stored = safetensors.numpy.load_file(tmp_path / "run/checkpoints" / steps[0] / "state.safetensors")
    model = TFAutoModelForPreTraining.from_pretrained(result.folder)
    assert any(np.array_equal(model.get_weights()[0], array) for array in stored.values())
    # Losses of another monitor are not compared: what is worse than the best was is the best of its own.
    left = [tmp_path / "run" / name for name in (
        "checkpoints/.step-000000099.0123456789ab.tmp/state.json", ".results.json.0123456789ab.tmp",
        "model/.model.safetensors.0123456789ab.tmp",
    )]  # fmt: skip
    left[0].parent.mkdir()
    for path in left:
        path.touch()
    losses = iter([9.0, 9.5])
    again = pretrain(settings(store, tmp_path / "run", **{**changes, "monitor": "mean", "steps": 11}), resume=True)
    assert (again.step, again.held_out["mlm:en"].loss) == (10, 9.0) and not any(path.exists() for path in left)


def test_a_loss_that_is_no_number(poisoned: tuple[Path, str]) -> None:
    output, said = poisoned
    assert re.fullmatch(
        r"Training stopped at step 13: the loss is nan and the norm of the gradient nan, after \d\S* in the step "
        r"before\. The batch was of mlm on en, the learning rate 0\.00555\. What helps: a lower learning_rate \(a "
        r"third of 0\.01\), .* Its last good checkpoint is '.*step-000000012': change the settings and resume\.",
        said,
    )
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == [f"step-{n:09d}" for n in (4, 8, 12)]
    stored = safetensors.numpy.load_file(output / "checkpoints/step-000000012/state.safetensors")
    assert all(np.isfinite(array).all() for array in stored.values()) and not (output / "model").exists()


def planned(store: Path, **changes: Any) -> Any:
    config = PretrainingConfig.from_dict(settings(store, Path("nowhere"), **changes))
    return make_config(config, *make_data(config))


def test_models_that_go_with_settings(store: Path, trained: Any) -> None:
    assert planned(store, objectives="clm:fr").causal
    assert not planned(store, objectives="clm:fr mlm:en").causal
    onward = planned(store, objectives="clm:fr", model={}, checkpoint=str(trained[0] / "model"))
    assert onward.causal and onward.emb_dim == MODEL["emb_dim"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"model": {**MODEL, "causal": True}}, r"model\.causal is True, but the objectives are 'mlm:en,de clm:fr tlm"),
        (
            {"model": {"model_type": "xlm-roberta"}},
            "The tokenizer is a XLMTokenizer, whose models are xlm, but model_t",
        ),
        ({"model": {**MODEL, "vocab_size": 20}}, r"The tokenizer has \d+ ids, and the model 20\. Use the tokenizer of"),
        ({"length": 40}, r"length is 40, but the model reads 32 tokens at most\. Make length smaller, or model\.max_"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message):
            planned(store, **changes)
    with pytest.raises(ConfigError, match=r"monitor must be 'mean' or one of mlm:en, mlm:de, .* got 'mlm:fr'"):
        pretrain(settings(store, Path("nowhere"), monitor="mlm:fr"))


def test_xlm_roberta(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(f"hello the world number {index}" for index in range(60)))
    prepare_store({"en": str(tmp_path / "text.txt")}, write_trained(tmp_path / "tokenizer"), tmp_path / "store")
    model = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    changes = {"objectives": "mlm:en", "model": model, "steps": 4, "evaluate_every": 0, "tensorboard": False}
    with pytest.raises(ConfigError, match=r"evaluate_every asks for evaluations, but the store has no held-out text"):
        pretrain(settings(tmp_path / "store", tmp_path / "run", **{**changes, "evaluate_every": 2}))
    with pytest.raises(ConfigError, match="objectives has 'clm', which XLM models learn; those of XLM-RoBERTa learn"):
        planned(tmp_path / "store", **{**changes, "objectives": "clm:en"})
    made = planned(tmp_path / "store", **changes)
    assert (made.model_type, made.hidden_size, made.pad_token_id, made.eos_token_id) == ("xlm-roberta", 16, 1, 2)
    result = pretrain(settings(tmp_path / "store", tmp_path / "run", **changes))
    assert type(TFAutoModelForPreTraining.from_pretrained(result.folder)) is TFXLMRobertaForMaskedLM
    assert result.step == 4 and result.trained["mlm:en"].loss > 0


def test_a_plan(store: Path, tmp_path: Path) -> None:
    config = PretrainingConfig.from_dict(settings(store, tmp_path / "run", steps=200))
    plan, data = make_plan(config), make_data(config)[0]
    model = TFXLMWithLMHeadModel(planned(store))
    assert (plan.parameters, plan.tokens_per_step) == (model.num_parameters(), 64)
    assert plan.embedding_parameters == (model.config.vocab_size + 32 + 3) * 16
    counts = {entry.name: entry.batches for entry in plan.entries}
    steps = [":".join(data.plan(step)) for step in range(200)]
    assert counts == {name: steps.count(name) for name in ENTRIES}
    tokens = open_store(store).part("fr").tokens + open_store(store).part("fr").sentences
    assert {entry.name: entry for entry in plan.entries}["clm:fr"].rows == math.ceil(tokens / 15)
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(config.to_dict()))
    done = CliRunner().invoke(app, ["pretrain", str(file), "--dry-run", "--set", "steps=100"], env={"COLUMNS": "120"})
    assert done.exit_code == 0 and f"{plan.parameters:,} parameters" in done.output and "6,400" in done.output
    assert not (tmp_path / "run").exists()


def test_evaluations_without_a_best_are_counted_over_a_break(store: Any, tmp_path: Path) -> None:
    """As where nothing was hidden, and there is no loss to compare."""
    config = PretrainingConfig.from_dict(settings(store, tmp_path / "run"))
    data, _ = make_data(config)
    run, again = (Run(config, data, Devices(config)) for _ in range(2))
    for _ in range(2):
        run.evaluated({"mlm:en": Figures()})
    again.restore({**run.state(), "step": 4}, [4])
    assert (again.best_step, again.without_better) == (None, 2)
