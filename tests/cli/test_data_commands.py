"""`tfxlm learn-vocab` and `tfxlm prepare`, as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.test_cli import ROOT, run
from tests.data.stores import sentences, write_lines
from tests.example_files import CHECKPOINT
from tfxlm.cli import app
from tfxlm.data import open_store
from tfxlm.errors import ConfigError, InputError


def test_a_vocabulary_and_a_store(tmp_path: Path) -> None:
    text = write_lines(tmp_path / "en.txt", [*sentences("en", 60), ""])
    done = run("learn-vocab", f"en={text}", "--out", tmp_path / "vocab", "--size", "90", "--workers", "1")
    assert done.returncode == 0 and done.stdout.startswith("90 ids in "), done.stderr
    command = ("prepare", f"en={text}", "--tokenizer", tmp_path / "vocab", "--held-out", "10", "--workers", "1")
    done = run(*command, "--out", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    store = open_store(tmp_path / "store")
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("en "))
    assert row[1:5] == ["50", f"{store.part('en').tokens:,}", "0.00%", "10"]
    assert "en: 1 empty lines or sides" in done.stdout
    done = run(*command, "--out", tmp_path / "store")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "exists already" in done.stderr


def test_help_reads_well_and_loads_no_tensorflow() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tfxlm.cli import app\n"
        "for name in ('prepare', 'learn-vocab'):\n"
        "    print(CliRunner().invoke(app, [name, '--help']).output)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    for option in (
        "--held-out",
        "--workers",
        "--documents",
        "--tokenizer",
        "--config",
        "--size",
        "--alpha",
        "--family",
    ):
        assert option in text, option


def call(*arguments: object) -> BaseException | None:
    return CliRunner().invoke(app, list(map(str, arguments))).exception


def test_a_configuration(tmp_path: Path) -> None:
    text = write_lines(tmp_path / "en.txt", sentences("en", 60))
    config = tmp_path / "prepare.toml"
    config.write_text(
        f'tokenizer = "{CHECKPOINT}"\nout = "{tmp_path}/a"\nheld_out = 5\nworkers = 1\n[corpora]\nen = ["{text}"]\n'
    )
    assert call("prepare", "--config", config) is None
    assert open_store(tmp_path / "a").part("en", "held_out").sentences == 5
    assert call("prepare", "--config", config, "--out", tmp_path / "b", "--held-out", 7) is None
    assert open_store(tmp_path / "b").part("en", "held_out").sentences == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", r"has 'x', but may have corpora, tokenizer, out, held_out"),
        ("workers = 'two'", r"workers should be of type int, but is 'two'"),
        ("workers = true", r"workers should be of type int, but is True"),
        ("corpora = 3", r"corpora should be places by language, such as en: corpus\.txt\.gz"),
        ("[corpora]\nen = [1]", r"corpora should be places by language"),
        ("= 1", r"cannot be read: Invalid statement"),
        ("[corpora]\nen = 'a'", r"Say the tokenizer: --tokenizer, or tokenizer in a configuration"),
    ],
)
def test_wrong_configurations(tmp_path: Path, content: str, message: str) -> None:
    config = tmp_path / "prepare.toml"
    config.write_text(content)
    found = call("prepare", "--config", config)
    assert isinstance(found, InputError | ConfigError) and re.search(message, str(found)), found


def test_norwegian_in_yaml(tmp_path: Path) -> None:
    config = tmp_path / "prepare.yaml"
    config.write_text("corpora: {no: text}")
    found = call("prepare", "--config", config)
    assert isinstance(found, InputError) and "the language False of a corpus is no text. Put it in quotes" in str(found)


def test_corpora_in_two_places(tmp_path: Path) -> None:
    config = tmp_path / "prepare.toml"
    config.write_text("[corpora]\nen = 'a'")
    found = call("prepare", "en=b", "--config", config)
    assert isinstance(found, InputError) and "Corpora are named both here and in" in str(found)
