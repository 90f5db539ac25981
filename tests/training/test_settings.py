"""Settings of pre-training: where they come from, and what is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfxlm.errors import CheckpointNotFoundError, ConfigError
from tfxlm.training import PretrainingConfig

ROOT = Path(__file__).parents[2]
LEAST = {"store": "s", "output": "o", "objectives": "mlm:en", "steps": 5000}
FORMS = {
    "a.yaml": "store: s\noutput: o\nobjectives: mlm:en\nsteps: 5e3\nlearning_rate: 1e-3\nmodel: {emb_dim: 8}\n",
    "a.toml": 'store = "s"\noutput = "o"\nobjectives = "mlm:en"\nsteps = 5000\nlearning_rate = 1e-3\n[model]\n'
    "emb_dim = 8\n",
    "a.json": '{"store": "s", "output": "o", "objectives": "mlm:en", "steps": 5000, "learning_rate": 0.001,'
    '"model": {"emb_dim": 8}}',
}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_files(name: str, tmp_path: Path) -> None:
    config = PretrainingConfig.from_file(written(tmp_path, name, FORMS[name]))
    assert config == PretrainingConfig(**LEAST, learning_rate=1e-3, model={"emb_dim": 8})
    assert (type(config.steps), config.schedule, config.word_mask_keep_rand) == (int, "inverse_sqrt", (0.8, 0.1, 0.1))
    assert PretrainingConfig.from_dict(config.to_dict()) == config


def test_changes(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", FORMS["a.yaml"])
    changes = ("steps=6000", "model.emb_dim=16", "model.dropout=0.0", "ema=0.9", "devices=[]", "tokenizer=null")
    config = PretrainingConfig.from_file(path, changes)
    assert (config.steps, config.model, config.ema) == (6000, {"emb_dim": 16, "dropout": 0.0}, 0.9)
    for change, message in (
        ("steps", r"A change must be like field=value, got 'steps'\."),
        ("steps.x=1", r"The change 'steps.x=1' is of a field inside 'steps', which has no fields\."),
        ("steps=[", r"steps=\[ cannot be read: .*expected the node content"),
        ("step=1", rf"The settings in '{path}' have no field 'step'\. Did you mean 'steps'\?"),
    ):
        with pytest.raises(ConfigError, match=message):
            PretrainingConfig.from_file(path, [change])


def test_what_is_no_file_of_settings(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"There is no file of settings 'no\.yaml'\."):
        PretrainingConfig.from_file("no.yaml")
    for name, text, message in (
        ("a.txt", "", r"a\.txt' must end in \.yaml, \.yml, \.toml, \.json, which says how it is written"),
        ("b.yaml", "- 1", r"b\.yaml' must hold fields with values, got list"),
        ("c.toml", "x", r"c\.toml' cannot be read: "),
        ("d.json", "{", r"d\.json' cannot be read: "),
        ("e.yaml", "a: !!python/object/apply:os.getcwd []", r"e\.yaml' cannot be read: could not determine a constr"),
        ("f.yaml", "a" * 2**21, r"f\.yaml' has more than 1048576 bytes: it is no file of settings"),
        ("g.yaml", "steps: 1", r"g\.yaml' lack store, output, objectives, without which there is nothing to do"),
        ("h.yaml", "zzzzz: 1", r"h\.yaml' have no field 'zzzzz'\. There are: store, output, objectives"),
    ):
        with pytest.raises(ConfigError, match=message):
            PretrainingConfig.from_file(written(tmp_path, name, text))
    (tmp_path / "i.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"i\.yaml' is not UTF-8"):
        PretrainingConfig.from_file(tmp_path / "i.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer below"),
        ({"steps": "many"}, "steps must be a positive integer below .* got 'many'"),
        ({"steps": 1.5}, "steps must be a positive integer below .* got 1.5"),
        ({"store": " "}, "store must be a text, got ' '"),
        ({"tokenizer": 1}, "tokenizer must be a text, or null, got 1"),
        ({"model": [1]}, "model must be a mapping of fields of the model's configuration"),
        ({"model": {"emb_dim": 1}, "checkpoint": "c"}, "model must be left out where there is a checkpoint"),
        ({"schedule": "sqrt"}, "schedule must be one of 'inverse_sqrt', 'linear', 'cosine', 'constant', got 'sqrt'"),
        ({"warmup_steps": 5001}, "warmup_steps must be at most steps = 5000, got 5001"),
        ({"beta_1": 1}, r"beta_1 must be a number in \[0, 1\), got 1"),
        ({"ema": 1}, r"ema must be a number in \(0, 1\), or null, got 1"),
        ({"precision": "float16"}, "precision must be one of 'float32', 'mixed_bfloat16', 'mixed_float16'"),
        ({"xla": 1}, "xla must be True or False, got 1"),
        ({"word_mask_keep_rand": [1, 0]}, r"word_mask_keep_rand must be a list of three numbers, got \[1, 0\]"),
        ({"whole_sentences": 0}, "whole_sentences must be True, False or null, got 0"),
        ({"alpha": 1.1}, r"alpha must be a number in \[0, 1\], got 1.1"),
        ({"evaluation_batches": 0}, "evaluation_batches must be a positive integer, or null, got 0"),
        ({"patience": 2, "evaluate_every": 0}, "evaluate_every must be more than 0 where patience or final='best'"),
        ({"strategy": "mirored"}, "strategy must be one of None, 'mirrored', 'multi_worker', 'tpu', got 'mirored'"),
        ({"devices": ["cpu:0"]}, "devices must be left out, as strategy is None"),
        ({"devices": "cpu:0", "strategy": "mirrored"}, "devices must be a list of texts, got 'cpu:0'"),
        (
            {"accumulate": 2, "strategy": "mirrored"},
            "accumulate must be 1 where there is a strategy: make batch_size as",
        ),
    ],
)
def test_wrong_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"Invalid configuration: {message}"):
        PretrainingConfig.from_dict({**LEAST, **changes})


def test_settings_of_the_examples() -> None:
    files = (ROOT / "examples/pretraining").glob("*.yaml")
    found = {path.stem: PretrainingConfig.from_file(path).to_dict() for path in files}
    assert set(found) == {"checkpoint", "clm", "first_steps", "mlm", "mlm_tlm"}

    def differing(one: str, other: str) -> set[str]:
        return {name for name, value in found[one].items() if value != found[other][name]}

    # What is compared in the experiment learns by the same settings.
    assert differing("mlm", "mlm_tlm") == {"objectives", "output"}
    assert differing("mlm", "clm") == {"objectives", "output", "steps", "learning_rate"}


def test_settings_need_no_tensorflow() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from tfxlm.cli import app\n"
        "done = CliRunner().invoke(app, ['pretrain', '--help'], env={'COLUMNS': '200', 'NO_COLOR': '1'})\n"
        "assert done.exit_code == 0 and '--dry-run' in done.output and '--resume' in done.output, done.output\n"
        "from tfxlm.training import PretrainingConfig\n"
        "sys.exit(sorted({'tensorflow', 'keras'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
