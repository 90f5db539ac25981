"""The beam of question answering: what shapes it takes, and rows in which nothing may be an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.heads.question_answering import BeamAnswers

DIM, LENGTH = 8, 4
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(2, LENGTH, DIM)).astype(np.float32)
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
# No position of the first row may be an answer, and two of the second.
P_MASK = np.array([[1, 1, 1, 0], [1, 0, 0, 1]])


def beam(**options: Any) -> BeamAnswers:
    layer = BeamAnswers(DIM, start_n_top=2, end_n_top=2, **options)
    layer.build()
    for weight in layer.weights:
        weight.assign(np.random.default_rng(weight.shape.num_elements()).normal(size=weight.shape))
    return layer


def answers(layer: BeamAnswers, padding: int = 0, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    def longer(values: np.ndarray, fill: float) -> Any:
        widths = [(0, 0), (0, padding), *[(0, 0)] * (values.ndim - 2)]
        return tf.constant(np.pad(values[rows], widths, constant_values=fill))

    outputs = layer(longer(STATES, 5), longer(MASK, 0), p_mask=longer(P_MASK, 0))
    return {name: np.asarray(value) for name, value in outputs.items()}


def test_a_row_without_an_answer_has_no_probability_anywhere() -> None:
    layer = beam()
    outputs = answers(layer)
    for name in ("start_top_log_probs", "end_top_log_probs", "start_top_index", "end_top_index"):
        np.testing.assert_array_equal(outputs[name][0], 0, err_msg=name)
    # The other row's two starts share all there is, and so do the ends of each.
    assert sorted(outputs["start_top_index"][1]) == [1, 2]
    assert outputs["start_top_log_probs"][1].sum() == pytest.approx(1)
    np.testing.assert_allclose(outputs["end_top_log_probs"][1].reshape(2, 2).sum(0), 1, rtol=1e-6)
    # No start is expected: the class is that of zeros beside the last real position.
    nothing = layer.answer_class(tf.zeros((1, DIM)), tf.constant(STATES[:1, 2]))
    np.testing.assert_allclose(outputs["cls_logits"][:1], nothing, rtol=1e-6)
    for other, rows in ((answers(layer, padding=3), slice(None)), (answers(layer, rows=slice(1)), slice(1))):
        for name, value in other.items():
            np.testing.assert_allclose(value, outputs[name][rows], rtol=1e-5, err_msg=name)


def test_over_padding_a_row_without_an_answer_has_one_everywhere() -> None:
    outputs = answers(beam(over_padding=True))
    np.testing.assert_array_equal(outputs["start_top_log_probs"][0], [1, 0])  # padding, which p_mask leaves in
    everywhere = beam(over_padding=True)(tf.constant(STATES), tf.constant(MASK), p_mask=tf.ones((2, LENGTH)))
    np.testing.assert_allclose(everywhere["start_top_log_probs"], 1 / LENGTH, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_mask": np.zeros((2, 1))}, r"p_mask must have shape \(batch, length\), here \(2, 4\), got \(2, 1\)\."),
        ({"p_mask": np.zeros(4)}, r"p_mask must have shape \(batch, length\), here \(2, 4\), got \(4,\)\."),
        ({"p_mask": np.zeros((1, 4))}, r"p_mask must have shape .* got \(1, 4\)\."),
        ({"cls_index": np.array([0])}, r"cls_index must have shape \(batch,\), here \(2,\), got \(1,\)\."),
        ({"cls_index": np.zeros((2, 2), int)}, r"cls_index must have shape \(batch,\), here \(2,\), got \(2, 2\)\."),
        ({"cls_index": np.array(1)}, r"cls_index must have shape \(batch,\), here \(2,\), got \(\)\."),
    ],
)
def test_shapes_that_do_not_fit(arguments: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        beam()(tf.constant(STATES), tf.constant(MASK), **{name: tf.constant(v) for name, v in arguments.items()})


def test_class_index_in_a_column() -> None:
    layer, x = beam(), (tf.constant(STATES), tf.constant(MASK))
    row, column = (layer(*x, cls_index=tf.constant(value))["cls_logits"] for value in ([0, 2], [[0], [2]]))
    np.testing.assert_array_equal(column, row)
