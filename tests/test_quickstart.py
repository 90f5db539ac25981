"""The main job, in full and as `make quickstart` runs it for each family: the training demos of the test suite."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.example_files import LANGUAGES, load_quickstart
from tfxlm import AutoTokenizer, TFAutoModelForSequenceClassification

INTENTS = 6
CHANCE = 1 / INTENTS
VOCABULARIES = {
    "xlm": {"vocab.json", "merges.txt"},
    "xlm-roberta": {"sentencepiece.bpe.model", "tokenizer.json"},
}


def family_of(output: Path) -> str:
    return json.loads((output / "model" / "config.json").read_text())["model_type"]


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    return load_quickstart()


@pytest.fixture(scope="module", params=["xlm", "xlm-roberta"])
def run(
    request: pytest.FixtureRequest, quickstart: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, str, Path]:
    """Its results, what it printed, and the folder it wrote to."""
    output = tmp_path_factory.mktemp("quickstart")
    printed = io.StringIO()
    quickstart.console = Console(file=printed, width=200)
    results = quickstart.main(["--output", str(output), "--family", request.param])
    return results, printed.getvalue(), output


@pytest.mark.parametrize("run", ["xlm-roberta"], indirect=True)
def test_a_made_checkpoint_learns_what_it_is_taught(run: tuple[Any, str, Path]) -> None:
    results, printed, _ = run
    assert "random weights" in printed
    assert results.accuracies["en"] >= 3 * CHANCE


@pytest.mark.parametrize("run", ["xlm"], indirect=True)
@pytest.mark.parametrize("lang", ["de", "fr"])
def test_zero_shot_accuracy_is_at_least_three_times_chance(run: tuple[Any, str, Path], lang: str) -> None:
    results, _, _ = run
    assert results.accuracies[lang] >= 3 * CHANCE
    assert results.accuracies[lang] > results.baseline[lang]


def test_every_language_is_printed_beside_the_random_model_and_chance(run: tuple[Any, str, Path]) -> None:
    results, printed, _ = run
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if "held back" in line or "zero-shot" in line]
    shown = [[cell.strip() for cell in row[2:]] for row in rows]
    random = {lang: f"{accuracy:.1%}" for lang, accuracy in results.baseline.items()}
    expected = [
        [f"{results.accuracies[lang]:.1%}", random.get(lang, "the same"), f"{CHANCE:.1%}"] for lang in LANGUAGES
    ]
    assert shown == expected


def test_every_question_is_answered_the_same_over_rest_and_grpc(
    quickstart: ModuleType, run: tuple[Any, str, Path]
) -> None:
    results, printed, _ = run
    assert [answer.lang for answer in results.answers] == list(LANGUAGES)
    assert all(answer.same_over_grpc for answer in results.answers)
    names = set(quickstart.read_intents("en")[1])
    for answer in results.answers:
        assert answer.label in names
        assert CHANCE <= answer.score <= 1
        assert answer.text in printed


def test_the_saved_model_answers_what_the_server_answered(quickstart: ModuleType, run: tuple[Any, str, Path]) -> None:
    results, _, output = run
    model = TFAutoModelForSequenceClassification.from_pretrained(output / "model")
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    for answer in results.answers:
        logits = model(quickstart.encode(tokenizer, [answer.text], answer.lang)).logits.numpy()[0]
        scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert model.config.id2label[int(scores.argmax())] == answer.label
        assert scores.max() == pytest.approx(answer.score, abs=1e-5)


def test_the_output_folder_holds_the_model_and_the_export(run: tuple[Any, str, Path]) -> None:
    _, _, output = run
    assert {path.name for path in output.iterdir()} == {"model", "exported"}
    files = {path.name for path in (output / "model").iterdir()}
    of_tokenizer = {*("tokenizer_config.json", "special_tokens_map.json"), *VOCABULARIES[family_of(output)]}
    assert files == {"config.json", "model.safetensors", *of_tokenizer}
    version = output / "exported" / "intent" / "1"
    assert {path.name for path in version.iterdir()} >= {"saved_model.pb", "variables", "assets.extra"}
    config = json.loads((version / "assets.extra" / "config.json").read_text())
    assert len(config["id2label"]) == INTENTS
    for name in of_tokenizer:
        assert (version / "assets.extra" / "tokenizer" / name).is_file()


def test_without_output_nothing_is_kept(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and evaluation are left out, which write nothing, and the export, which writes where it is told to."""
    monkeypatch.setattr(quickstart, "console", Console(file=io.StringIO()))
    exported: list[Path] = []

    def export(model: Any, tokenizer: Any, path: Path) -> Path:
        (path / "1").mkdir(parents=True)
        exported.append(path)
        return path / "1"

    monkeypatch.setattr(quickstart, "export_model", export)
    monkeypatch.setattr(quickstart, "ask_server", lambda folder, *_: [folder])
    monkeypatch.setattr(quickstart, "fine_tune", lambda make_model, *_, **__: make_model())
    monkeypatch.setattr(quickstart, "accuracies", lambda *_: dict.fromkeys(LANGUAGES, 0.0))
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.setattr(quickstart.tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(here)
    answers = quickstart.main(["--family", "xlm-roberta"]).answers
    assert answers == exported and exported[0].is_relative_to(scratch)
    assert not list(here.iterdir())
    # TensorFlow keeps single files with generated code there until the process ends.
    assert not [path for path in scratch.iterdir() if path.is_dir()]
