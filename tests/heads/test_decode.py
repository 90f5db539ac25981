"""Small answers, by hand and against plain loops: whatever stands at padding, and whatever batch a row comes in."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfxlm.heads.decode import beam_answers, choice_scores, mean_embedding, span_answers, token_labels, top_tokens

LOG = np.log


def softmax(x: np.ndarray) -> np.ndarray:
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def check(found: Any, expected: Any) -> None:
    """Indices are equal, scores close and float32."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if expected.dtype.kind == "i":
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)
    else:
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_token_labels_by_hand() -> None:
    logits = LOG([[[0.1, 0.7, 0.2], [0.5, 0.25, 0.25], [0.0001, 0.0001, 0.9998]], [[0.3, 0.3, 0.4]] * 3])
    ids, scores = token_labels(logits, np.array([[True, True, False], [True, False, False]]))
    check(ids, [[1, 0, -1], [2, -1, -1]])
    check(scores, [[0.7, 0.5, 0.0], [0.4, 0.0, 0.0]])


def test_top_tokens_by_hand() -> None:
    logits = LOG([[[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]])
    ids, scores = top_tokens(logits, np.array([[True, False]]), k=2)
    check(ids, [[[3, 2], [-1, -1]]])
    check(scores, [[[0.4, 0.3], [0.0, 0.0]]])
    ids, scores = top_tokens(logits, np.array([[True, True]]), k=9)  # more than there are
    check(ids, [[[3, 2, 1, 0], [0, 1, 2, 3]]])
    check(scores, [[[0.4, 0.3, 0.2, 0.1]] * 2])


def test_choices_by_hand() -> None:
    logits = LOG([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    check(choice_scores(logits), [[0.2, 0.3, 0.5]] * 3)
    check(choice_scores(logits, np.array([3, 2, 1])), [[0.2, 0.3, 0.5], [0.4, 0.6, 0.0], [1.0, 0.0, 0.0]])


def test_spans_by_hand() -> None:
    start, end = LOG([[0.1, 0.5, 0.2, 0.2]]), LOG([[0.6, 0.1, 0.2, 0.1]])
    everywhere = np.ones((1, 4), bool)
    # The best start and the best end are in the wrong order: (1, 2) has 0.5 * 0.2, (0, 0) 0.1 * 0.6, (1, 1) and
    # (1, 3) 0.5 * 0.1 each, of which the shorter comes first.
    found = span_answers(start, end, everywhere, k=4)
    check(found[0], [[1, 0, 1, 1]])
    check(found[1], [[2, 0, 1, 3]])
    check(found[2], [[0.1, 0.06, 0.05, 0.05]])
    # At most one token: (1, 1) 0.05, (2, 2) 0.04, (0, 0) 0.06, (3, 3) 0.02.
    found = span_answers(start, end, everywhere, k=5, max_length=1)
    check(found[0], [[0, 1, 2, 3, -1]])
    check(found[1], [[0, 1, 2, 3, -1]])
    check(found[2], [[0.06, 0.05, 0.04, 0.02, 0.0]])
    # Only the first and third position: probabilities among those are 1/3 and 2/3, 3/4 and 1/4.
    found = span_answers(start, end, np.array([[True, False, True, False]]), k=4)
    check(found[0], [[0, 2, 0, -1]])
    check(found[1], [[0, 2, 2, -1]])
    check(found[2], [[1 / 3 * 3 / 4, 2 / 3 * 1 / 4, 1 / 3 * 1 / 4, 0.0]])


def test_spans_that_are_far_too_unlikely_to_multiply() -> None:
    start, end = np.array([[0.0, -90.0, -80.0]]), np.array([[-90.0, 0.0, -80.0]])
    found = span_answers(start, end, np.ones((1, 3), bool), k=6)
    # e to the -160 and -170 are 0 in float32, and come in order all the same.
    check(found[0], [[0, 0, 0, 1, 2, 1]])
    check(found[1], [[1, 2, 0, 1, 2, 2]])


def test_a_row_without_any_allowed_position() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3))
    starts, ends, scores = span_answers(logits, logits, np.array([[False] * 3, [True] * 3]), k=2)
    check(starts[0], [-1, -1])
    check(ends[0], [-1, -1])
    check(scores[0], [0.0, 0.0])
    assert (np.asarray(scores[1]) > 0).all()


def beam_outputs(start: Any, start_index: Any, end: Any, end_index: Any) -> dict[str, np.ndarray]:
    """Outputs of a beam from probabilities and positions by start and end: (batch, start), (batch, start, end)."""
    end, end_index = np.asarray(end, np.float32), np.asarray(end_index, np.int32)
    return {
        "start_top_log_probs": np.asarray(start, np.float32),
        "start_top_index": np.asarray(start_index, np.int32),
        "end_top_log_probs": end.transpose(0, 2, 1).reshape(len(end), -1),
        "end_top_index": end_index.transpose(0, 2, 1).reshape(len(end), -1),
    }


def test_beam_by_hand() -> None:
    outputs = beam_outputs([[0.6, 0.3]], [[4, 1]], [[[0.5, 0.4, 0.1], [0.7, 0.2, 0.1]]], [[[2, 5, 4], [6, 1, 3]]])
    everywhere = np.ones((1, 7), bool)
    # (4, 2) is in the wrong order; (4, 5) 0.24, (1, 6) 0.21, (4, 4) and (1, 1) 0.06, (1, 3) 0.03.
    found = beam_answers(outputs, everywhere, k=6)
    check(found[0], [[4, 1, 4, 1, 1, -1]])
    check(found[1], [[5, 6, 4, 1, 3, -1]])
    check(found[2], [[0.24, 0.21, 0.06, 0.06, 0.03, 0.0]])
    found = beam_answers(outputs, everywhere, k=2, max_length=2)
    check(found[0], [[4, 4]])
    check(found[1], [[5, 4]])
    allowed = everywhere.copy()
    allowed[0, [5, 1]] = False
    found = beam_answers(outputs, allowed, k=2)
    check(found[0], [[4, -1]])
    check(found[1], [[4, -1]])
    check(found[2], [[0.06, 0.0]])


def test_what_fills_a_beam_up_is_no_answer() -> None:
    outputs = beam_outputs([[1.0, 0.0]], [[0, 2]], [[[0.9, 0.0], [0.8, 0.2]]], [[[1, 2], [2, 2]]])
    found = beam_answers(outputs, np.ones((1, 3), bool), k=3)
    check(found[0], [[0, -1, -1]])
    check(found[1], [[1, -1, -1]])
    check(found[2], [[0.9, 0.0, 0.0]])


def brute_force(start: np.ndarray, end: np.ndarray, allowed: np.ndarray, k: int, max_length: int) -> list[Any]:
    rows = []
    for first, last, places in zip(start, end, map(np.flatnonzero, allowed), strict=True):
        if len(places) == 0:
            rows.append([(-1, -1, 0.0)] * k)
            continue
        first, last = softmax(first[places].astype(np.float64)), softmax(last[places].astype(np.float64))
        spans = [
            (int(places[i]), int(places[j]), first[i] * last[j])
            for i, j in itertools.product(range(len(places)), repeat=2)
            if 0 <= places[j] - places[i] < max_length
        ]
        rows.append((sorted(spans, key=lambda span: -span[2]) + [(-1, -1, 0.0)] * k)[:k])
    return [np.array([[span[i] for span in row] for row in rows]) for i in range(3)]


@pytest.mark.parametrize("seed", range(20))
def test_spans_against_a_loop_over_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, length, k, max_length = (int(rng.integers(1, high)) for high in (5, 13, 8, 16))
    start, end = rng.normal(size=(2, batch, length)).astype(np.float32) * 3
    allowed = rng.random((batch, length)) < 0.7
    for found, expected in zip(
        span_answers(start, end, allowed, k=k, max_length=max_length),
        brute_force(start, end, allowed, k, max_length),
        strict=True,
    ):
        check(found, expected)


def padded(rng: np.random.Generator, array: np.ndarray, amount: int) -> np.ndarray:
    """The same with garbage after the second axis."""
    garbage = rng.normal(size=(array.shape[0], amount, *array.shape[2:])) * 50
    return np.concatenate([array, garbage.astype(array.dtype)], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_answers_do_not_depend_on_padding_or_on_other_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, more = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    mask = np.concatenate([np.ones((1, length), bool), np.zeros((1, more), bool)], axis=1)
    start, end = rng.normal(size=(2, 1, length)).astype(np.float32)
    wide = rng.normal(size=(1, length, 4)).astype(np.float32)
    others = rng.random((3, length + more)) < 0.5

    def stacked(array: np.ndarray) -> np.ndarray:
        """Padded, and after three other rows."""
        row = padded(rng, array, more)
        return np.concatenate([rng.normal(size=(3, *row.shape[1:])).astype(row.dtype), row])

    everything = np.concatenate([others, mask])
    for alone, among in (
        (
            span_answers(start, end, mask[:, :length], k=3, max_length=4),
            span_answers(stacked(start), stacked(end), everything, k=3, max_length=4),
        ),
        (token_labels(wide, mask[:, :length]), token_labels(stacked(wide), everything)),
        (top_tokens(wide, mask[:, :length], k=2), top_tokens(stacked(wide), everything, k=2)),
        ([choice_scores(start)], [choice_scores(stacked(start), np.array([1, 1, 1, length]))]),
        ([mean_embedding(wide, mask[:, :length])], [mean_embedding(stacked(wide), everything)]),
    ):
        for one, other in zip(alone, among, strict=True):
            one, other = np.asarray(one), np.asarray(other)[-1:]
            if one.shape != other.shape:
                other, filler = other[:, :length], other[:, length:]
                assert (filler == (-1 if filler.dtype == np.int32 else 0)).all()
            check(other, one)


def test_half_precision_logits_have_float32_scores() -> None:
    logits = tf.random.stateless_normal((2, 3, 4), (1, 2), dtype=tf.float32)
    mask = np.ones((2, 3), bool)
    for dtype in (tf.bfloat16, tf.float16):
        half = tf.cast(logits, dtype)
        exact = tf.cast(half, tf.float32)
        for decode in (token_labels, top_tokens):
            for one, other in zip(decode(half, mask), decode(exact, mask), strict=True):
                check(one, other.numpy())
        check(choice_scores(half[0]), choice_scores(exact[0]).numpy())
        for one, other in zip(
            span_answers(half[..., 0], half[..., 1], mask),
            span_answers(exact[..., 0], exact[..., 1], mask),
            strict=True,
        ):
            check(one, other.numpy())


def test_in_a_graph_of_unknown_sizes() -> None:
    rng = np.random.default_rng(0)
    spec = [tf.TensorSpec((None, None), tf.float32)] * 2 + [tf.TensorSpec((None, None), tf.bool)]
    graph = tf.function(lambda *inputs: span_answers(*inputs, k=3), input_signature=spec)
    for batch, length in ((2, 7), (1, 1), (3, 40), (0, 5)):
        inputs = (*rng.normal(size=(2, batch, length)).astype(np.float32), rng.random((batch, length)) < 0.6)
        for found, expected in zip(graph(*inputs), span_answers(*inputs, k=3), strict=True):
            check(found, expected.numpy())
