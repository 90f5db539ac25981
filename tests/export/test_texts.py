"""Exports that take raw text, beside the Python tokenizer and the signatures over ids; asked in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.export.asked import (
    CASES,
    LANG2ID,
    SERVED,
    SIGNATURES,
    TASKS,
    TEXTS,
    Asked,
    as_bytes,
    as_text,
    check,
    warmup_requests,
)
from tests.export.support import C_API, WITHOUT_TFXLM, ask_process, unchecked
from tests.models.families import FAMILIES, XLM
from tests.tokenizers.toy import MERGES, toy_vocabulary
from tfxlm import XLMTokenizer
from tfxlm.client import Client
from tfxlm.errors import InputError, LanguageError, ServingError
from tfxlm.export import export_model
from tfxlm.serve import Server


@pytest.mark.parametrize(("prefix", "task"), CASES)
def test_texts_are_answered_as_their_ids(families: dict[str, Asked], prefix: str, task: str) -> None:
    asked = families[prefix]
    loaded = asked.loaded(task)
    request = {name: tf.constant(as_bytes(value)) for name, value in asked.request(task).items()}
    found = loaded.signatures[TASKS[task]](**request)
    check({name: as_text(value.numpy()) for name, value in found.items()}, asked.expected(task, loaded))


@pytest.fixture(scope="module")
def server(families: dict[str, Asked]) -> Iterator[Server]:
    models = {families[prefix].served_name(task): families[prefix].export(task)[1].parent for prefix, task in SERVED}
    with Server(models, rest_port=0, grpc_port=0) as running:
        yield running


def test_all_ways_give_equal_answers(families: dict[str, Asked], server: Server, tmp_path: Path) -> None:
    """REST in columns and in rows, gRPC, another process, and the C++ runtime without Python TensorFlow."""
    given: dict[Path, dict[str, dict[str, np.ndarray]]] = {}
    for prefix, task in SERVED:
        asked = families[prefix]
        folder = asked.export(task)[1]
        requests = given.setdefault(folder, warmup_requests(folder))
        requests[SIGNATURES[task]] = {name: as_bytes(value) for name, value in asked.request(task).items()}
    others = []
    for name, command in (("Python", WITHOUT_TFXLM), ("C", C_API)):
        (tmp_path / name).mkdir()
        answers = ask_process(command, given.items(), tmp_path / name)
        others.append(dict(zip(given, answers, strict=True)))
    with (
        Client(rest=server.rest_url) as columns,
        Client(rest=server.rest_url, rest_format="rows") as rows,
        Client(grpc=server.grpc_address) as grpc,
    ):
        python, c = others
        for folder in given:
            check(c[folder], python[folder])
        for prefix, task in SERVED:
            asked, signature = families[prefix], SIGNATURES[task]
            name, folder, request = asked.served_name(task), asked.export(task)[1], asked.request(task)
            expected = grpc.predict(name, request, signature_name=signature)
            for client in (columns, rows):
                check(client.predict(name, request, signature_name=signature), expected)
            for answers in others:
                start = f"{signature}/"
                own = {key[len(start) :]: value for key, value in answers[folder].items() if key.startswith(start)}
                check(own, expected)


# What takes a text in each row, two of them, or several.
@pytest.mark.parametrize("task", ["ForSequenceClassification, pairs", "ForMultipleChoice", "questions"])
def test_sizes_are_checked_and_empty_batches_answered(families: dict[str, Asked], task: str) -> None:
    asked = families[XLM.prefix]
    signature = asked.loaded(task).signatures[SIGNATURES[task]]
    request = {name: as_bytes(value) for name, value in asked.request(task).items()}
    first = next(iter(request))
    for name in request:
        if name != first:
            shorter = {key: tf.constant(value[:1] if key == name else value) for key, value in request.items()}
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must have as many rows as {first}"):
                signature(**shorter)
    for name in ("num_words", "num_choices"):
        if name in request:
            with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{name} must be at least 1 and at most"):
                signature(
                    **{
                        key: tf.constant(value + 9 * (key == name) if key == name else value)
                        for key, value in request.items()
                    }
                )
    empty = signature(**{name: tf.constant(value[:0]) for name, value in request.items()})
    assert all(value.shape[0] == 0 for value in empty.values())


def test_bad_texts_are_refused_and_the_server_lives(families: dict[str, Asked], server: Server) -> None:
    name = families[XLM.prefix].served_name("ForSequenceClassification")
    for client in (Client(rest=server.rest_url), Client(grpc=server.grpc_address)):
        with client:
            with pytest.raises(ServingError, match=r"lang must be a language of the model: de, en, fr"):
                client.predict(name, {"text": ["Hello"], "lang": ["xx"]})
            with pytest.raises(ServingError, match=r"lang must have as many rows as text"):
                client.predict(name, {"text": ["Hello", "the"], "lang": ["en"]})
            assert client.predict(name, {"text": ["Hello"], "lang": ["en"]})["label"].shape == (1,)


def test_one_language_for_all_texts(families: dict[str, Asked], tmp_path: Path) -> None:
    asked = families[XLM.prefix]
    model, _ = asked.export("ForSequenceClassification")
    with unchecked():
        folder = export_model(model, asked.tokenizer, tmp_path / "fixed", lang="fr", signatures=["text"])
    fixed = tf.saved_model.load(str(folder))
    assert set(fixed.signatures["serving_default"].structured_input_signature[1]) == {"text"}
    any_language = asked.loaded("ForSequenceClassification").signatures["serving_default"]
    found = fixed.signatures["serving_default"](text=tf.constant(TEXTS))
    expected = any_language(text=tf.constant(TEXTS), lang=tf.constant(["fr"] * 5))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    with pytest.raises(LanguageError, match=r"'xx' is unknown\. Known languages: de, en, fr"):
        export_model(model, asked.tokenizer, tmp_path / "other", lang="xx")


def test_the_whole_export_is_checked_and_described(families: dict[str, Asked], tmp_path: Path) -> None:
    """Without leaving the fresh process out, as the other tests do; with a tokenizer of TensorFlow Text."""
    asked = families[next(family.prefix for family in FAMILIES if family is not XLM)]
    model, _ = asked.export("ForSequenceClassification")
    folder = export_model(model, asked.tokenizer, tmp_path / "checked")
    golden = json.loads((folder / "assets.extra" / "manifest.json").read_text())["golden"]
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = loaded(**{name: tf.constant(value) for name, value in golden["inputs"].items()})
    np.testing.assert_allclose(found["scores"], golden["outputs"]["scores"], atol=1e-5)
    assert as_text(found["label"].numpy()).tolist() == golden["outputs"]["label"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"padding_side": "left"}, "pads on the left"),
        ({"lang2id": None}, "the tokenizer knows no languages"),
        ({"mask_token": None}, "has no mask token"),
    ],
)
def test_tokenizers_without_a_graph_go_as_files(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, **({"lang2id": LANG2ID} | options))
    config = XLM.config.replace(vocab_size=len(tokenizer), n_langs=3, lang2id=LANG2ID)
    model = XLM.cls("WithLMHeadModel")(config)
    with unchecked(), pytest.warns(UserWarning, match=f"The export takes ids only: .*{reason}"):
        folder = export_model(model, tokenizer, tmp_path / "served")
    signatures = tf.saved_model.load(str(folder)).signatures
    assert "input_ids" in signatures["serving_default"].structured_input_signature[1]
    assert (folder / "assets.extra" / "tokenizer" / "vocab.json").is_file()
    with pytest.raises(InputError, match=f"lang='en' is for texts, but .*{reason}"):
        export_model(model, tokenizer, tmp_path / "served", lang="en")


def test_languages_that_are_all_cut_before(tmp_path: Path) -> None:
    tokenizer = XLMTokenizer(toy_vocabulary(), MERGES, lang2id={"th": 0, "zh": 1})
    model = XLM.cls("Model")(XLM.config.replace(vocab_size=len(tokenizer), n_langs=2, lang2id=None))
    with unchecked():
        folder = export_model(model, tokenizer, tmp_path / "served", signatures=["text"])
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert signature(text=tf.constant(["the"]), lang=tf.constant(["zh"]))["embedding"].shape[0] == 1
