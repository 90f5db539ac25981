"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.arrays import random_array, shifted
from tests.checkpoints.torch_writer import archive, emit
from tests.example_files import CHECKPOINT
from tests.tokenizers.test_originals import write as write_original
from tfxlm import AutoTokenizer, TFAutoModelForPreTraining, XLMConfig

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "160", "NO_COLOR": "1"}
ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfxlm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=120, check=False)


def test_help_says_what_there_is() -> None:
    done = run("--help")
    assert done.returncode == 0 and "inspect" in done.stdout and "convert" in done.stdout
    for command, options in (("inspect", ("--json", "--revision")), ("convert", ("--dtype", "--max-shard-size"))):
        text = run(command, "--help").stdout
        assert all(option in text for option in (*options, "--subfolder", "--offline", "--token")), command
    assert run("--version").stdout.startswith("tfxlm ")


def test_inspect(tmp_path: Path) -> None:
    done = run("inspect", CHECKPOINT)
    assert done.returncode == 0, done.stderr
    assert "loads whole as  TFXLMWithLMHeadModel" in done.stdout, done.stdout
    for text in (
        "transformers, safetensors, 1 file",
        "language modeling head (1 tensor)",
        "hidden_size=256",
        "11.1 MB in float16",
        "ar de en fr ru",
    ):
        assert text in done.stdout, done.stdout
    found = json.loads(run("inspect", CHECKPOINT, "--json").stdout)
    assert found["family"] == "xlm" and found["vocabulary"] == 9000 and found["problems"] == []
    tensors = safetensors.numpy.load_file(CHECKPOINT / "model.safetensors")
    assert found["parameters"] == sum(tensor.size for tensor in tensors.values())


def test_inspect_tells_of_problems(tmp_path: Path) -> None:
    shifted(tmp_path, {"transformer.embeddings.weight": random_array((5, 4)), "surprise": random_array((2,))})
    XLMConfig(vocab_size=6, emb_dim=4, n_layers=1, n_heads=2).save_pretrained(tmp_path)
    done = run("inspect", tmp_path)
    assert done.returncode == 1
    for text in (
        "1 tensors are not of XLM models: surprise",
        "the table of words is (5, 4), and by the configuration (6, 4)",
        "there are 0 layers, and by the configuration 1",
        "no tokenizer:",
    ):
        assert text in done.stdout, done.stdout


def test_inspect_an_original(tmp_path: Path) -> None:
    path = write_original(tmp_path, rows=20)
    found = json.loads(run("inspect", path, "--json").stdout)
    assert (found["program"], found["family"], found["vocabulary"]) == ("XLM (FAIR)", "xlm", 20)
    assert found["file_format"] == "torch.save, zip"
    assert any("the rest is cut" in note for note in found["notes"])


def test_errors_are_explained_without_a_traceback(tmp_path: Path) -> None:
    for arguments in (("inspect", tmp_path), ("convert", tmp_path, tmp_path / "new"), ("inspect", tmp_path / "no.bin")):
        done = run(*arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.startswith("error: "), done.stderr
    assert "holds no weights" in run("inspect", tmp_path).stderr
    assert run("convert", CHECKPOINT, tmp_path / "new", "--dtype", "int8").stderr.startswith("error: dtype must be one")
    assert os.listdir(tmp_path) == []


def test_convert(tmp_path: Path) -> None:
    done = run("convert", CHECKPOINT, tmp_path / "new", "--dtype", "float32", "--max-shard-size", "8MB")
    assert done.returncode == 0, done.stderr
    files = sorted(line.rpartition("/")[2] for line in done.stdout.splitlines())
    assert files == sorted(os.listdir(tmp_path / "new")) and "model.safetensors.index.json" in files
    before = safetensors.numpy.load_file(CHECKPOINT / "model.safetensors")
    for shard in (tmp_path / "new").glob("*.safetensors"):
        for name, array in safetensors.numpy.load_file(shard).items():
            assert array.dtype == np.float32 and np.array_equal(array, before.pop(name).astype(np.float32))
    assert not before
    again = run("convert", CHECKPOINT, tmp_path / "new")
    assert again.returncode == 1 and "exists already. Choose another name, or remove it first." in again.stderr
    assert AutoTokenizer.from_pretrained(tmp_path / "new").encode("Play.", lang="en") == AutoTokenizer.from_pretrained(
        CHECKPOINT
    ).encode("Play.", lang="en")


def test_convert_to_keras(tmp_path: Path) -> None:
    import keras

    done = run("convert", CHECKPOINT, tmp_path / "model.keras", "--dtype", "float32")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["model.keras"]
    expected = TFAutoModelForPreTraining.from_pretrained(CHECKPOINT)
    found = keras.saving.load_model(tmp_path / "model.keras")
    ids, langs = np.arange(14, 24)[None], np.full((1, 10), 2)
    assert np.array_equal(found(ids, langs=langs).logits, expected(ids, langs=langs).logits)


def test_what_was_interrupted_is_removed(tmp_path: Path) -> None:
    """A conversion is killed in the middle; nothing has the name of the result, and the next one cleans up."""
    source = tmp_path / "source"
    shifted(source, {f"{index}": random_array((1024, 1024), seed=index) for index in range(96)})
    command = [sys.executable, "-m", "tfxlm", "convert", str(source), str(tmp_path / "new")]
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (left := list(tmp_path.glob(".new.*.tmp/*"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.returncode == 0:
        pytest.fail("The conversion was over before it could be killed.")
    assert left and sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["source"]
    done = run("convert", source, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["new", "source"]


def run_with(tmp_path: Path, error: str) -> subprocess.CompletedProcess[str]:
    """Runs a conversion in which something happens."""
    code = f"""
import sys, tfxlm.cli
def fail(*_, **__):
    raise {error}
sys.modules["tfxlm.cli.convert"].convert_checkpoint = fail
sys.argv = ["tfxlm", "convert", "a", "b"]
tfxlm.cli.main()
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=120, check=False)


def test_what_comes_from_outside(tmp_path: Path) -> None:
    done = run_with(tmp_path, "KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted; nothing was left half written\n")
    done = run_with(tmp_path, "OSError(28, 'No space left on device')")
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_control_characters_of_files(tmp_path: Path) -> None:
    """Names in a file cannot command the terminal of whoever looks at it."""
    name = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202ex"
    shifted(tmp_path, {name: random_array((2,))})
    XLMConfig(vocab_size=6, emb_dim=4, n_layers=1, n_heads=2).save_pretrained(tmp_path)
    (tmp_path / "evil.bin").write_bytes(archive(emit({name: 1}).join((b"\x80\x02", b".")), {}))
    outputs = [run("inspect", tmp_path), run("inspect", tmp_path, "--json"), run("inspect", tmp_path / "evil.bin")]
    for done in outputs:
        assert done.returncode == 1 and "owned" in done.stdout + done.stderr
        assert not set("\x1b\x07\x9b\u202e") & set(done.stdout + done.stderr)
    assert any(name in problem for problem in json.loads(outputs[1].stdout)["problems"])


def test_two_conversions_at_once(tmp_path: Path) -> None:
    from tfxlm.files import atomic_folder

    with atomic_folder(tmp_path / "new"):
        done = run("convert", CHECKPOINT, tmp_path / "new")
        assert done.returncode == 1 and "is being made by another process. Wait for it" in done.stderr
    assert os.listdir(tmp_path) == ["new"]


def test_what_tries_to_run_code(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(archive(b"\x80\x02cos\nsystem\nU\x0etouch executed\x85R.", {}))
    for arguments in (("inspect", tmp_path / "evil.pth"), ("convert", tmp_path / "evil.pth", tmp_path / "new")):
        done = run(*arguments)
        assert done.returncode == 1 and "names 'os.system'" in done.stderr and "Nothing was executed" in done.stderr
    assert os.listdir(tmp_path) == ["evil.pth"] and not (ROOT / "executed").exists()
