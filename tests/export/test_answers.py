"""What the small answers are: against the model's outputs and plain loops, and whatever batch a row comes in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.export.support import CLASSES, LABELS, Arrays, Exported, export, make_model, settled
from tfxlm.models import TFPreTrainedModel, TFXLMForQuestionAnsweringSimple
from tfxlm.models.tasks import (
    BeamQuestionAnswering,
    LanguageModeling,
    MultipleChoice,
    SequenceClassification,
    SpanQuestionAnswering,
    TokenClassification,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def classification(it: Exported) -> dict[str, Any]:
    scores = softmax(it.outputs()["logits"])
    return {"label": [LABELS[i] for i in scores.argmax(-1)], "score": scores.max(-1), "scores": scores}


def token_classification(it: Exported) -> dict[str, Any]:
    scores, mask = softmax(it.outputs()["logits"]), it.mask()
    labels = np.array([[LABELS[i] for i in row] for row in scores.argmax(-1)])
    return {"label": np.where(mask, labels, ""), "score": scores.max(-1) * mask}


def multiple_choice(it: Exported) -> dict[str, Any]:
    logits, counts = it.outputs()["logits"], it.request("serving_default")["num_choices"]
    scores = np.zeros_like(logits)
    for row, count in enumerate(counts):
        scores[row, :count] = softmax(logits[row, :count])
    return {"choice": scores.argmax(-1), "score": scores.max(-1), "scores": scores}


def best_spans(rows: list[list[tuple[float, int, int]]]) -> dict[str, Any]:
    """The five best of (score, start, end) in each row."""
    best = [(sorted(row, reverse=True) + [(0.0, -1, -1)] * 5)[:5] for row in rows]
    scores, starts, ends = (np.array([[answer[i] for answer in row] for row in best]) for i in range(3))
    first = {"start": starts[:, 0], "end": ends[:, 0], "score": scores[:, 0]}
    return {**first, "starts": starts, "ends": ends, "scores": scores}


def spans(it: Exported) -> dict[str, Any]:
    outputs, rows = it.outputs(), []
    for row, allowed in enumerate(it.mask() & (it.request("serving_default")["p_mask"] == 0)):
        places = np.flatnonzero(allowed)
        start, end = (softmax(outputs[name][row, places]) for name in ("start_logits", "end_logits"))
        pairs = itertools.product(range(len(places)), repeat=2)
        rows.append([(start[i] * end[j], places[i], places[j]) for i, j in pairs if i <= j])
    return best_spans(rows)


def beam(it: Exported) -> dict[str, Any]:
    outputs, rows = it.outputs(), []
    allowed = it.mask() & (it.request("outputs")["p_mask"] == 0)
    for row in range(len(allowed)):
        found = []
        for i, j in itertools.product(range(3), range(2)):
            start, end = outputs["start_top_index"][row, i], outputs["end_top_index"][row, j * 3 + i]
            score = outputs["start_top_log_probs"][row, i] * outputs["end_top_log_probs"][row, j * 3 + i]
            if score > 0 and start <= end and allowed[row, start] and allowed[row, end]:
                found.append((score, start, end))
        rows.append(found)
    return {**best_spans(rows), "no_answer": 1 / (1 + np.exp(-outputs["cls_logits"]))}


def language_model(it: Exported) -> dict[str, Any]:
    probs, mask = softmax(it.outputs()["logits"]), it.mask()[..., None]
    ids = np.argsort(-probs, axis=-1, kind="stable")[..., :5]
    return {"ids": np.where(mask, ids, -1), "scores": np.take_along_axis(probs, ids, -1) * mask}


def embedding(it: Exported) -> dict[str, Any]:
    states = it.outputs()["last_hidden_state"]
    return {"embedding": [row[:n].mean(0) for row, n in zip(states, it.request("outputs")["lengths"], strict=True)]}


REFERENCES: dict[type, Callable[[Exported], dict[str, Any]]] = {
    SequenceClassification: classification,
    TokenClassification: token_classification,
    MultipleChoice: multiple_choice,
    SpanQuestionAnswering: spans,
    BeamQuestionAnswering: beam,
    LanguageModeling: language_model,
    TFPreTrainedModel: embedding,
}


def call(it: Exported, signature: str, request: Arrays) -> dict[str, np.ndarray]:
    function = it.loaded.signatures[signature]
    answer = function(**{name: tf.constant(array) for name, array in request.items()})
    found = settled({name: value.numpy() for name, value in answer.items()})
    return {name: np.char.decode(v.astype(bytes), "utf-8") if v.dtype == object else v for name, v in found.items()}


def check_same(found: np.ndarray, expected: Any, what: str) -> None:
    expected = np.asarray(expected)
    if expected.dtype.kind in "iU":
        np.testing.assert_array_equal(found, expected, err_msg=what)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5, err_msg=what)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_answers_are_made_from_the_models_outputs(kind: type, exports: Any) -> None:
    it = exports(kind)
    full = call(it, "outputs", it.request("outputs"))
    expected = it.outputs()
    small = call(it, "serving_default", it.request("serving_default"))
    reference = next(REFERENCES[base] for base in kind.__mro__ if base in REFERENCES)(it)
    assert set(full) == set(expected) and set(small) == set(reference)
    for name, value in expected.items():
        check_same(full[name], value, name)
    for name, value in reference.items():
        check_same(small[name], value, name)


def as_one_batch(requests: list[Arrays]) -> Arrays:
    """Requests as TensorFlow Serving batches them: each tensor is filled up with its own first element."""
    batch = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        shape = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
        padded = []
        for array in arrays:
            filled = np.full((len(array), *shape), array.flat[0], array.dtype)
            filled[tuple(slice(size) for size in array.shape)] = array
            padded.append(filled)
        batch[name] = np.concatenate(padded)
    return batch


def alone(it: Exported, signature: str, row: int) -> Arrays:
    """One row of the request, without padding."""
    request = {name: array[row : row + 1] for name, array in it.request(signature).items()}
    if it.has_choices:
        count = it.request("serving_default")["num_choices"][row]
        request = {name: array if name == "num_choices" else array[:, :count] for name, array in request.items()}
    rank, length = request["input_ids"].ndim, request["lengths"].max()
    return {name: array[..., :length] if array.ndim == rank else array for name, array in request.items()}


# What answers are where a row has been filled up.
FILLER = {"label": "", "score": 0, "ids": -1, "scores": 0}


@pytest.mark.parametrize("signature", ["serving_default", "outputs"])
def test_a_row_answers_the_same_alone_and_in_a_batch_of_the_server(exported: Exported, signature: str) -> None:
    rows = [alone(exported, signature, row) for row in range(4)]
    together = call(exported, signature, as_one_batch(rows))
    for row, request in enumerate(rows):
        size = request["input_ids"].shape[1]  # choices, or the length
        for name, value in call(exported, signature, request).items():
            found = together[name][row]
            if found.shape != value.shape[1:]:
                filler, found = found[size:], found[:size]
                if signature == "serving_default":
                    assert (filler == FILLER[name]).all(), name
            check_same(found, value[0], f"{name}, row {row}")


def test_options_of_answers(tmp_path: Path) -> None:
    it = export(make_model(TFXLMForQuestionAnsweringSimple), tmp_path / "qa", top_k=40, max_answer_length=2)
    request = it.request("serving_default")
    request["p_mask"][:] = 0
    found = call(it, "serving_default", request)
    for row, length in enumerate(request["lengths"]):
        count = 2 * length - 1
        starts, ends = found["starts"][row], found["ends"][row]
        pairs = set(zip(starts[:count].tolist(), ends[:count].tolist(), strict=True))
        assert pairs == {(i, j) for i in range(length) for j in (i, i + 1) if j < length}
        assert (np.diff(found["scores"][row]) <= 0).all()
        assert (starts[count:] == -1).all() and (ends[count:] == -1).all() and not found["scores"][row, count:].any()
