"""Rules of generation on values that are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfxlm.generation import GenerationOptions, Rules
from tfxlm.generation.scores import drawn

NEVER = -np.inf


def after(scores: list[float], texts: list[int], **options: Any) -> list[float]:
    """What is left of the scores of one row, whose text has these tokens and room for two more."""
    rules = Rules(GenerationOptions(**options))
    row = np.array([[*texts, -1, -1]], np.int32)
    found = rules(np.array([scores], np.float32), row, np.int32(len(texts)), np.array([options.get("short", False)]))
    return np.asarray(found)[0].tolist()


def test_what_a_text_has_costs_more_whatever_its_sign() -> None:
    assert after([2.0, -2.0, 2.0, -2.0], [-1, 0, 1, 1], repetition_penalty=2.0) == [1.0, -4.0, 2.0, -2.0]


@pytest.mark.parametrize(
    ("size", "text", "refused"),
    [
        (1, [-1, 2, 0], {0, 2}),
        (2, [1, 3, 1], {3}),
        (2, [3, 1, 0, 1], {0}),
        (3, [1, 2, 3, 1, 2], {3}),
        (3, [1, 2], set()),
    ],
)
def test_sequences_that_a_text_has_already(size: int, text: list[int], refused: set[int]) -> None:
    found = after([0.0] * 4, text, no_repeat_ngram_size=size)
    assert {token for token, score in enumerate(found) if score == NEVER} == refused


def test_a_text_that_is_too_short_does_not_end() -> None:
    rules = Rules(GenerationOptions(eos_token_ids=(1, 2)))
    scores = rules(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.int32), np.int32(2), np.array([True, False]))
    assert np.asarray(scores).tolist() == [[0, NEVER, NEVER], [0, 0, 0]]
    assert np.asarray(rules.are_ends(np.array([0, 1, 2]))).tolist() == [False, True, True]


# Of the probabilities 0.1, 0.4, 0.2, 0.3.
@pytest.mark.parametrize(
    ("top_k", "top_p", "left"),
    [
        (0, 1.0, {0, 1, 2, 3}),
        (2, 1.0, {1, 3}),
        (0, 0.35, {1}),
        (0, 0.6, {1, 3}),
        (0, 0.75, {1, 2, 3}),
        (2, 0.99, {1, 3}),
    ],
)
def test_the_likeliest_are_left(top_k: int, top_p: float, left: set[int]) -> None:
    scores = np.log([0.1, 0.4, 0.2, 0.3]).tolist()
    found = after(scores, [0], do_sample=True, top_k=top_k, top_p=top_p)
    assert {token for token, score in enumerate(found) if score > NEVER} == left
    assert after(scores, [0], do_sample=True, temperature=0.5)[1] == pytest.approx(2 * np.log(0.4), rel=1e-6)


@pytest.mark.parametrize(("draw", "token"), [(0.0, 1), (0.24, 1), (0.26, 3), (0.999999, 3), (1 - 2**-23, 3)])
def test_a_draw_hits_what_it_falls_into(draw: float, token: int) -> None:
    scores = np.array([[NEVER, 0.0, NEVER, np.log(3.0), NEVER]], np.float32)
    assert np.asarray(drawn(scores, np.array([draw], np.float32))).tolist() == [token]
