"""Questions about raw texts, beside the windows and offsets of the Python tokenizer and plain loops over spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.export.asked import CONTEXTS, LANGS, LENGTH, QUESTIONS, TRIED, Asked, as_text
from tests.export.support import unchecked
from tests.export.test_answers import softmax
from tests.models.families import FAMILIES, XLM, XLM_ROBERTA
from tests.tokenizers.toy_pieces import trained
from tfxlm import XLMRobertaTokenizer
from tfxlm.errors import InputError
from tfxlm.export import export_model
from tfxlm.export.questions import best_of_windows

# A quarter of what a row has beside special tokens, and half of the rest; XLM has three special tokens, and the others
# have four.
MAX_QUESTION, STRIDE = 5, {True: 8, False: 7}


# Stands for the pieces of a context, one after the other, while windows are laid over them.
PIECE = 10_000


def windows(asked: Asked, row: int) -> tuple[list[list[int]], list[Any], list[Any], Any]:
    """The rows that the Python tokenizer makes of a question and its context.

    Returns:
        Ids of each window, with `PIECE` and more for what is of the context; their languages; what those pieces are;
        and their offsets.
    """
    options: dict[str, Any] = {"split_special_tokens": True, "add_special_tokens": False}
    options |= {"lang": LANGS[row]} if asked.is_xlm else {}
    question = asked.tokenizer(QUESTIONS[row], **options)["input_ids"]
    at_left = asked.tokenizer.truncation_side == "left"
    question = question[-MAX_QUESTION:] if at_left else question[:MAX_QUESTION]
    context = asked.tokenizer(CONTEXTS[row], return_offsets_mapping=True, **options)
    limits: dict[str, Any] = {"max_length": LENGTH, "stride": STRIDE[asked.is_xlm], "truncation": "only_second"}
    langs = {"lang": LANGS[row], "return_langs": True} if asked.is_xlm else {}
    places = range(PIECE, PIECE + len(context["input_ids"]))
    rows = asked.tokenizer.prepare_for_model(question, places, return_overflowing_tokens=True, **limits, **langs)
    return rows["input_ids"], rows.get("langs"), context["input_ids"], context["offset_mapping"]


def spans(outputs: Any, allowed: np.ndarray, none: int) -> tuple[list[tuple[float, int, int]], float]:
    """All answers of a window: score, first and last token; and the score of none."""
    counted = [*np.flatnonzero(allowed), none]
    start, end = (
        dict(zip(counted, softmax(np.asarray(outputs[name][0])[counted]), strict=True))
        for name in ("start_logits", "end_logits")
    )
    places = np.flatnonzero(allowed)
    found = [(float(start[i] * end[j]), int(i), int(j)) for i in places for j in places if i <= j]
    return found, float(start[none] * end[none])


def beams(outputs: Any, allowed: np.ndarray, none: int) -> tuple[list[tuple[float, int, int]], float]:
    """The same of a beam."""
    starts, ends = outputs["start_top_index"][0], outputs["end_top_index"][0]
    top, of_ends, found = len(starts), outputs["end_top_log_probs"][0], []
    for place in range(len(ends)):
        i, j = int(starts[place % top]), int(ends[place])
        score = float(outputs["start_top_log_probs"][0][place % top] * of_ends[place])
        if score > 0 and i <= j and allowed[i] and allowed[j]:
            found.append((score, i, j))
    return found, float(1 / (1 + np.exp(-outputs["cls_logits"][0])))


def expected(asked: Asked, task: str, row: int) -> tuple[list[tuple[float, int, int]], float]:
    """The five best answers of a row, score, start and end; and the score of none."""
    model, _ = asked.export(task)
    best: dict[tuple[int, int], float] = {}
    nones = []
    rows, langs, pieces, offsets = windows(asked, row)
    for window, places in enumerate(rows):
        allowed = np.array(places) >= PIECE
        ids = [pieces[place - PIECE] if place >= PIECE else place for place in places]
        none = ids.index(asked.tokenizer.cls_token_id)
        given: dict[str, Any] = {"input_ids": np.array([ids])}
        given |= {"langs": np.array([langs[window]])} if asked.is_xlm else {}
        if task == "questions, beam":
            p_mask = ~allowed
            p_mask[none] = False
            given |= {"p_mask": p_mask[None].astype(int), "cls_index": np.array([none])}
        outputs = {name: np.asarray(value) for name, value in model(given).items()}
        found, no_answer = (beams if task == "questions, beam" else spans)(outputs, allowed, none)
        nones.append(no_answer)
        for score, i, j in found:
            of_answer = [offsets[place - PIECE] for place in places[i : j + 1]]
            while of_answer and of_answer[-1][0] == of_answer[-1][1]:  # white space
                of_answer.pop()
            if of_answer:
                key = of_answer[0][0], of_answer[-1][1]
                best[key] = max(best.get(key, 0.0), score)
    ordered = sorted(((score, *key) for key, score in best.items()), key=lambda one: (-one[0], one[1:]))
    return [*ordered[:5], *[(0.0, -1, -1)] * (5 - len(ordered))], min(nones)


TASKS = [(family.prefix, "questions") for family in TRIED] + [(XLM.prefix, "questions, beam")]


@pytest.mark.parametrize(("prefix", "task"), TASKS)
def test_the_best_answers_of_all_windows(families: dict[str, Asked], prefix: str, task: str) -> None:
    asked = families[prefix]
    loaded = asked.loaded(task).signatures["serving_default"]
    found = loaded(**{name: tf.constant(value) for name, value in asked.request(task).items()})
    answers = {name: as_text(value.numpy()) for name, value in found.items()}
    most = 0
    for row, context in enumerate(CONTEXTS):
        most = max(most, len(windows(asked, row)[0]))
        best, no_answer = expected(asked, task, row)
        scores, starts, ends = (np.array(column) for column in zip(*best, strict=True))
        np.testing.assert_allclose(answers["scores"][row], scores, atol=2e-6)
        # Of answers that are nearly as good as each other, another one may come first.
        apart = np.abs(np.diff(scores, prepend=9, append=-9)) > 1e-6
        sure = (apart[:-1] & apart[1:]) | (starts < 0)
        sure[-1] &= starts[-1] < 0
        np.testing.assert_array_equal(answers["starts"][row][sure], starts[sure])
        np.testing.assert_array_equal(answers["ends"][row][sure], ends[sure])
        np.testing.assert_allclose(answers["no_answer"][row], no_answer, atol=1e-5)
        for start, end, text in zip(*(answers[name][row] for name in ("starts", "ends", "answers")), strict=True):
            assert text == ("" if start < 0 else context[start:end])
    assert most > 3
    for name in ("answer", "start", "end", "score"):
        np.testing.assert_array_equal(answers[name], answers[f"{name}s"][:, 0])


@pytest.mark.parametrize("prefix", [family.prefix for family in TRIED])
def test_an_answer_does_not_depend_on_the_batch(families: dict[str, Asked], prefix: str) -> None:
    asked = families[prefix]
    loaded = asked.loaded("questions").signatures["serving_default"]
    request = {name: tf.constant(value) for name, value in asked.request("questions").items()}
    together = loaded(**request)
    for row in range(5):
        alone = loaded(**{name: value[row : row + 1] for name, value in request.items()})
        np.testing.assert_allclose(alone["scores"][0], together["scores"][row], atol=2e-6)
        np.testing.assert_array_equal(alone["answer"][0], together["answer"][row])
    empty = loaded(**{name: value[:0] for name, value in request.items()})
    assert empty["answers"].shape == (0, 5)


def test_the_same_span_of_two_windows_counts_once() -> None:
    """By hand: two windows of the first text, one of the third, none of the second."""
    starts = tf.constant([[3, 4], [3, -1], [0, 2]])
    ends = tf.constant([[5, 4], [5, -1], [0, 2]])
    scores = tf.constant([[0.2, 0.1], [0.3, 0.0], [0.25, 0.25]])
    found = best_of_windows(tf.constant([0, 0, 2]), tf.constant(3), starts, ends, scores, 3)
    assert found[0].numpy().tolist() == [[3, 4, -1], [-1, -1, -1], [0, 2, -1]]
    assert found[1].numpy().tolist() == [[5, 4, -1], [-1, -1, -1], [0, 2, -1]]
    np.testing.assert_allclose(found[2], [[0.3, 0.1, 0], [0, 0, 0], [0.25, 0.25, 0]])


def test_options_of_questions(families: dict[str, Asked], tmp_path: Path) -> None:
    asked = families[XLM_ROBERTA.prefix]  # whose tokenizer is small in a graph
    model, _ = asked.export("questions")
    with pytest.raises(
        InputError, match=r"max_length=24 leaves 10 tokens of a text to each window beside a first text"
    ):
        export_model(model, asked.tokenizer, tmp_path / "x", max_question_length=10, stride=10)
    with pytest.raises(InputError, match=r"^stride must be 0 or a positive integer, or None, got -1\."):
        export_model(model, asked.tokenizer, tmp_path / "x", stride=-1)
    with unchecked():
        options: dict[str, Any] = {"top_k": 2, "max_answer_length": 1, "stride": 0, "signatures": ["question"]}
        folder = export_model(model, asked.tokenizer, tmp_path / "x", max_length=16, **options)
    loaded = tf.saved_model.load(str(folder))
    assert set(loaded.signatures) == {"serving_default"}
    found = loaded.signatures["serving_default"](
        question=tf.constant(["the"]), context=tf.constant(["a b c d e f " * 9])
    )
    assert found["starts"].shape == (1, 2)
    np.testing.assert_array_equal(found["ends"] - found["starts"], [[1, 1]])


def test_pieces_without_places_leave_questions_to_ids(tmp_path: Path) -> None:
    family = FAMILIES[1]
    tokenizer = XLMRobertaTokenizer(trained(user_defined_symbols="<x>"))
    config = family.config.replace(vocab_size=len(tokenizer), id2label=None)
    with unchecked(), pytest.warns(UserWarning, match=r"The export takes ids only: .* no plain text, such as bytes\."):
        folder = export_model(family.cls("ForQuestionAnswering")(config), tokenizer, tmp_path / "x")
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert "input_ids" in signature.structured_input_signature[1]
    with unchecked():  # words can be labelled all the same, but not found in texts
        folder = export_model(family.cls("ForTokenClassification")(config), tokenizer, tmp_path / "y")
    assert set(tf.saved_model.load(str(folder)).signatures) == {"serving_default", "ids", "outputs"}


@pytest.mark.parametrize("prefix", [family.prefix for family in TRIED])
def test_words_of_a_text(families: dict[str, Asked], prefix: str) -> None:
    """Beside `word_ids` and offsets of the Python tokenizer, and the answer to the ids."""
    asked = families[prefix]
    loaded = asked.loaded("ForTokenClassification, texts")
    request = {name: tf.constant(value) for name, value in asked.request("ForTokenClassification, texts").items()}
    found = {name: as_text(value.numpy()) for name, value in loaded.signatures["text"](**request).items()}
    texts = asked.request("ForTokenClassification, texts")["text"]
    ids = asked.ids(texts)
    labels = loaded.signatures["ids"](**{name: tf.constant(value) for name, value in ids.items()})
    labels = {name: as_text(value.numpy()) for name, value in labels.items()}
    for row, text in enumerate(texts):
        options: dict[str, Any] = {"lang": LANGS[row]} if asked.is_xlm else {}
        options |= {"split_special_tokens": True, "add_special_tokens": False, "return_offsets_mapping": True}
        whole = asked.tokenizer(text, **options)
        words, offsets = whole.word_ids(), whole["offset_mapping"]
        count = len(set(words))
        assert found["num_words"][row] == count
        cut = max(len(words) - LENGTH + 2, 0)
        cut_before = cut if asked.tokenizer.truncation_side == "left" else 0
        for word in range(count):
            places = [place for place, of in enumerate(words) if of == word]
            start, end = offsets[places[0]][0], offsets[places[-1]][1]
            assert (found["starts"][row, word], found["ends"][row, word]) == (start, end)
            assert found["words"][row, word] == text[start:end]
            place = places[0] - cut_before
            is_kept = 0 <= place < LENGTH - 2
            assert found["label"][row, word] == (labels["label"][row, place + 1] if is_kept else "")
            np.testing.assert_allclose(
                found["score"][row, word], labels["score"][row, place + 1] if is_kept else 0, atol=2e-6
            )
        assert not found["label"][row, count:].any() and not found["words"][row, count:].any()
