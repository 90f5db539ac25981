"""Exports answer as the model does: here, in a process without tfxlm, and in the C++ runtime without Python."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.export.support import C_API, LABELS, WITHOUT_TFXLM, ask_process, config, requests
from tfxlm import TFXLMForSequenceClassification, TFXLMModel, TFXLMWithLMHeadModel, export_model
from tfxlm.errors import InputError, OutputExistsError
from tfxlm.export import exporter

CLASSES = (TFXLMForSequenceClassification, TFXLMWithLMHeadModel, TFXLMModel)


@pytest.fixture(scope="module", params=CLASSES, ids=lambda kind: kind.__name__)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = request.param(config())
    return model, export_model(model, None, tmp_path_factory.mktemp("exports") / "served")


@pytest.mark.parametrize(
    "command",
    [WITHOUT_TFXLM, C_API],
    ids=["without-tfxlm", "c-api-without-python-tensorflow"],
)
def test_other_processes_get_the_models_answers(exported: tuple[Any, Path], command: list[str], tmp_path: Path) -> None:
    model, folder = exported
    found = ask_process(command, folder, tmp_path)
    outputs = model(requests())
    for name, value in outputs.items():
        np.testing.assert_allclose(found[f"outputs/{name}"], value.numpy(), rtol=0, atol=2e-5)
    if isinstance(model, TFXLMForSequenceClassification):
        scores = np.exp(outputs.logits) / np.exp(outputs.logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(found["serving_default/scores"], scores, atol=1e-6)
    elif isinstance(model, TFXLMWithLMHeadModel):
        best = np.argsort(-outputs.logits.numpy(), axis=-1, kind="stable")[:, :, :5]
        real = np.arange(11) < requests()["lengths"][:, None]
        np.testing.assert_array_equal(found["serving_default/ids"][real], best[real])
    else:
        rows = [state[:n].mean(0) for state, n in zip(outputs[0].numpy(), requests()["lengths"], strict=True)]
        np.testing.assert_allclose(found["serving_default/embedding"], rows, atol=1e-5)


@pytest.mark.parametrize("exported", [TFXLMForSequenceClassification], indirect=True)
def test_labels_are_text(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](
        **{name: tf.constant(array) for name, array in requests().items()}
    )
    best = model(requests()).logits.numpy().argmax(-1)
    assert [label.decode() for label in answer["label"].numpy()] == [LABELS[index] for index in best]
    np.testing.assert_array_equal(answer["score"], answer["scores"].numpy().max(-1))


def test_a_row_answers_the_same_alone_and_among_longer_ones(exported: tuple[Any, Path]) -> None:
    _, folder = exported
    serve = tf.saved_model.load(str(folder)).signatures["outputs"]
    batch = requests()
    together = serve(**{name: tf.constant(array) for name, array in batch.items()})
    for row, length in enumerate(batch["lengths"]):
        one = {"input_ids": batch["input_ids"][row : row + 1, :length], "lengths": batch["lengths"][row : row + 1]}
        alone = serve(**one, langs=batch["langs"][row : row + 1, :length])
        for name, value in alone.items():
            cut = together[name].numpy()[row : row + 1]
            cut = cut[:, :length] if cut.ndim == 3 else cut
            np.testing.assert_allclose(value, cut, atol=2e-5)


def test_signatures_and_warmup(exported: tuple[Any, Path]) -> None:
    _, folder = exported
    loaded = tf.saved_model.load(str(folder))
    assert set(loaded.signatures) == {"serving_default", "outputs"}
    for name, function in loaded.signatures.items():
        specs = function.structured_input_signature[1]
        assert {key: spec.dtype for key, spec in specs.items()} == dict.fromkeys(
            ("input_ids", "lengths", "langs"), tf.int32
        ), name
    records = list(tf.data.TFRecordDataset(str(folder / "assets.extra/tf_serving_warmup_requests")))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert {log.predict_log.request.model_spec.signature_name for log in logs} == set(loaded.signatures)
    for log in logs:
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name](**inputs)


def test_the_manifest_names_every_file_and_a_golden_answer(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    manifest = json.loads((folder / "assets.extra/manifest.json").read_text())
    assert manifest["class"] == type(model).__name__
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written - set(manifest["sha256"]) == {"assets.extra/manifest.json"}
    inputs = {name: tf.constant(values, tf.int32) for name, values in manifest["golden"]["inputs"].items()}
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](**inputs)
    for name, expected in manifest["golden"]["outputs"].items():
        if answer[name].dtype == tf.string:
            assert [label.decode() for label in answer[name].numpy()] == expected
        else:
            np.testing.assert_allclose(answer[name], expected, atol=1e-5)


def test_weights_are_written_once(tmp_path: Path) -> None:
    model = TFXLMModel(config(emb_dim=96, vocab_size=3000))
    folder = export_model(model, None, tmp_path / "served")
    size = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    assert size < 1.05 * 4 * model.num_parameters()


def test_versions_count_up_and_are_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "check_in_fresh_process", lambda *arguments: 0.0)
    model = TFXLMForSequenceClassification(config(n_layers=1))
    assert export_model(model, None, tmp_path / "served").name == "1"
    assert model.export(tmp_path / "served").name == "2"
    assert export_model(model, None, tmp_path / "served", version=7).name == "7"
    assert export_model(model, None, tmp_path / "served").name == "8"
    with pytest.raises(OutputExistsError, match="exists already"):
        export_model(model, None, tmp_path / "served", version=7)
    with pytest.raises(InputError, match="version must be a positive integer, got 0"):
        export_model(model, None, tmp_path / "served", version=0)


@pytest.mark.parametrize(
    ("changes", "width"),
    [({"id2label": {0: "stars"}}, 1), ({"problem_type": "regression"}, 3)],
    ids=["one-label", "problem-type"],
)
def test_a_regression_answers_numbers_alone(
    changes: dict[str, Any], width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "check_in_fresh_process", lambda *arguments: 0.0)
    model = TFXLMForSequenceClassification(config(n_layers=1, **changes))
    folder = export_model(model, None, tmp_path / "served")
    inputs = {name: tf.constant(array) for name, array in requests().items()}
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](**inputs)
    assert set(answer) == {"scores"}
    assert answer["scores"].shape == (4, width)
    np.testing.assert_allclose(answer["scores"], model(requests()).logits, atol=2e-5)


def test_the_problem_that_labels_told_the_model_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "check_in_fresh_process", lambda *arguments: 0.0)
    model = TFXLMForSequenceClassification(config(n_layers=1))
    model(requests(), labels=np.ones((4, 3), np.float32))  # several labels at once
    folder = export_model(model, None, tmp_path / "served")
    inputs = {name: tf.constant(array) for name, array in requests().items()}
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](**inputs)
    np.testing.assert_allclose(answer["scores"], 1 / (1 + np.exp(-model(requests()).logits)), atol=1e-5)
    stored = json.loads((folder / "assets.extra/config.json").read_text())
    assert stored["problem_type"] == "multi_label_classification"


def test_a_model_without_language_embeddings_takes_no_langs(tmp_path: Path) -> None:
    folder = export_model(TFXLMForSequenceClassification(config(n_langs=1, n_layers=1)), None, tmp_path / "served")
    loaded = tf.saved_model.load(str(folder))
    assert set(loaded.signatures["serving_default"].structured_input_signature[1]) == {"input_ids", "lengths"}


@pytest.mark.parametrize("name", ["lengths", "langs"])
def test_inputs_that_would_broadcast_are_refused(exported: tuple[Any, Path], name: str) -> None:
    _, folder = exported
    batch = requests()
    batch[name] = batch[name][:1]
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must have shape"):
        serve(**{key: tf.constant(array) for key, array in batch.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": 60}, r"input_ids must be in \[0, vocab_size = 60\)"),
        ({"langs": 4}, r"langs must be language ids in \[0, n_langs = 4\)"),
        ({"lengths": 12}, "lengths must be at least 1 and at most the length of input_ids"),
        ({"lengths": 0}, "lengths must be at least 1"),
        ({"lengths": -1}, "lengths must be at least 1"),
    ],
)
def test_bad_ids_are_refused_in_the_graph(exported: tuple[Any, Path], changes: dict[str, int], message: str) -> None:
    _, folder = exported
    batch = requests()
    for name, value in changes.items():
        batch[name] = np.full_like(batch[name], value)
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(**{name: tf.constant(array) for name, array in batch.items()})


def test_rows_without_a_position_are_refused_in_the_graph(exported: tuple[Any, Path]) -> None:
    _, folder = exported
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    none = tf.zeros((2, 0), tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\(batch, length\) with a length of at least 1"):
        serve(input_ids=none, lengths=tf.zeros(2, tf.int32), langs=none)
