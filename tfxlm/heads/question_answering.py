"""Answers that are spans of the input: scores of first and last tokens, and a beam over both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tfxlm.backend import check_range, softmax, to_int32
from tfxlm.errors import InputError
from tfxlm.heads.labels import IGNORED_LABEL, fits, is_integer
from tfxlm.heads.losses import mean_loss
from tfxlm.layers import Dense, last_position
from tfxlm.layers.layer import Layer

# The logit of a position that cannot be part of an answer: no probability is left, and nothing is infinite.
IMPOSSIBLE = -1e30


def split_span_logits(logits: Any) -> dict[str, Any]:
    """Takes the two scores of each position apart.

    Args:
        logits: (batch, length, 2).

    Returns:
        `start_logits` and `end_logits`, (batch, length).
    """
    return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}


def read_positions(positions: Any, length: Any, name: str) -> tuple[Any, Any]:
    """Brings positions into the sequence.

    Args:
        positions: integers (batch,) or (batch, 1).
        length: of the sequence.
        name: the argument's, for messages.

    Returns:
        int32 (batch,) within the sequence, and which of them count, boolean (batch,). Those past the end (an answer
        that truncation cut off) and -100 do not; other negative ones are position 0.

    Raises:
        InputError: when they are not integers of that shape.
    """
    positions = ops.convert_to_tensor(positions)
    if not is_integer(positions) or not any(fits(tuple(positions.shape), shape) for shape in ((None,), (None, 1))):
        dtype = keras.backend.standardize_dtype(positions.dtype)
        raise InputError(
            f"{name} must be integers of shape (batch,), one position for each row, got {dtype} of shape "
            f"{tuple(positions.shape)}."
        )
    positions = to_int32(ops.reshape(positions, (-1,)))
    counts = ops.logical_and(ops.not_equal(positions, IGNORED_LABEL), positions < length)
    return ops.where(counts, ops.maximum(positions, 0), 0), counts


def span_loss(
    start_positions: Any, end_positions: Any, outputs: Any, sample_weight: Mapping[str, Any] | None = None
) -> Any:
    """Returns the mean of the cross-entropies of start and end.

    Args:
        start_positions, end_positions: integers (batch,), see `read_positions`.
        outputs: `start_logits` and `end_logits`, (batch, length).
        sample_weight: (batch,) by argument, or None.

    Returns:
        float32 scalar.
    """
    total = 0.0
    for name, positions in (("start", start_positions), ("end", end_positions)):
        logits = ops.cast(outputs[f"{name}_logits"], "float32")
        ids, counts = read_positions(positions, ops.shape(logits)[1], f"{name}_positions")
        _check_batch(ids, logits, f"{name}_positions")
        losses = keras.losses.sparse_categorical_crossentropy(ids, logits, from_logits=True)
        total = total + mean_loss(losses, (sample_weight or {}).get(f"{name}_positions"), counts)
    return total / 2


def impossible_loss(is_impossible: Any, logits: Any, sample_weight: Any = None) -> Any:
    """Returns the mean binary cross-entropy of whether questions have no answer.

    Args:
        is_impossible: numbers (batch,) or (batch, 1), 1 for a question without an answer.
        logits: (batch,).
        sample_weight: (batch,) or None.

    Returns:
        float32 scalar.
    """
    labels = ops.cast(ops.reshape(ops.convert_to_tensor(is_impossible), (-1, 1)), "float32")
    _check_batch(labels, logits, "is_impossible")
    logits = ops.cast(logits, "float32")[:, None]
    return mean_loss(keras.losses.binary_crossentropy(labels, logits, from_logits=True), sample_weight)


def _check_batch(values: Any, logits: Any, name: str) -> None:
    if not fits(tuple(values.shape[:1]), tuple(logits.shape[:1])):
        raise InputError(f"{name} must have {logits.shape[0]} rows, as the batch has, got {values.shape[0]}.")


def _take(hidden_states: Any, positions: Any) -> Any:
    """(batch, length, dim) at (batch, k) positions -> (batch, k, dim)."""
    return ops.take_along_axis(hidden_states, positions[:, :, None], axis=1)


class BeamAnswers(Layer):
    """Starts, ends that know their start, and whether there is an answer (after Yang et al., 2019, section 3.2).

    Args:
        dim: width of the hidden states.
        start_n_top, end_n_top: how many starts are tried, and how many ends for each.
        norm_epsilon: epsilon of the normalisation before the ends' scores.
        over_padding: whether padding may be an answer, and a missing `cls_index` the last position of the row even
            where that is padding (a quirk of ``transformers``).
        kernel_initializer: of all kernels.

    Call arguments:
        hidden_states: (batch, length, dim).
        mask: (batch, length) boolean, True at real positions.
        start_positions, end_positions: integers (batch,); with both the scores are those that training needs.
        is_impossible: whether it is given decides, with `cls_index`, if `answer_class_logits` are computed.
        cls_index: integers (batch,), where the classification token stands; the last real position by default.
        p_mask: (batch, length), 1 where no answer may be.

    Returns:
        Without positions `start_top_log_probs` and `start_top_index` (batch, start_n_top), `end_top_log_probs` and
        `end_top_index` (batch, end_n_top * start_n_top), the ends of all starts for the best end first, and
        `cls_logits` (batch,). With positions `start_logits` and `end_logits` (batch, length), the latter given the
        true starts, and `answer_class_logits` (batch,).

    Raises:
        InputError: when positions are no integers of shape (batch,), or outside of the sequence, and when `p_mask` has
            another shape.
    """

    def __init__(
        self,
        dim: int,
        *,
        start_n_top: int,
        end_n_top: int,
        norm_epsilon: float = 1e-12,
        over_padding: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start_n_top, self.end_n_top, self.over_padding = start_n_top, end_n_top, over_padding
        options: dict[str, Any] = {
            "dim": dim,
            "kernel_initializer": kernel_initializer,
            "dtype": self.dtype_policy,
        }
        self.start_logits = Scores(1, hidden=False, name="start_logits", **options)
        self.end_logits = Scores(2, norm_epsilon=norm_epsilon, name="end_logits", **options)
        self.answer_class = Scores(2, use_bias=False, name="answer_class", **options)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        for scores in (self.start_logits, self.end_logits, self.answer_class):
            scores.build()
        self.built = True

    def call(
        self,
        hidden_states: Any,
        mask: Any,
        start_positions: Any = None,
        end_positions: Any = None,
        is_impossible: Any = None,
        cls_index: Any = None,
        p_mask: Any = None,
    ) -> dict[str, Any]:
        """Scores answers; see the class."""
        length = ops.shape(hidden_states)[1]
        _check_shape("p_mask", p_mask, "(batch, length)", tuple(mask.shape))
        _check_shape("cls_index", cls_index, "(batch,)", (mask.shape[0],), (mask.shape[0], 1))
        is_training = start_positions is not None and end_positions is not None
        allowed = ops.ones_like(mask) if self.over_padding or is_training else mask
        if p_mask is not None:
            allowed = ops.logical_and(allowed, ops.equal(p_mask, 0))
        is_judged = is_impossible is not None and cls_index is not None
        if cls_index is None:
            cls_index = last_position(ops.ones_like(mask) if self.over_padding else mask)
        else:
            cls_index = check_range(_rows(cls_index), length, "cls_index must be positions within the sequence.")
        cls_states = _take(hidden_states, cls_index[:, None])[:, 0]  # (batch, dim)
        start_logits = self._allowed(self.start_logits(hidden_states), allowed)
        if not is_training:
            return self._search(hidden_states, allowed, start_logits, cls_states)
        # Where the label does not count, any start will do.
        starts, _ = read_positions(start_positions, length, "start_positions")
        read_positions(end_positions, length, "end_positions")
        start_states = _take(hidden_states, starts[:, None])  # (batch, 1, dim)
        end_logits = self._allowed(self.end_logits(hidden_states, start_states), allowed)
        outputs = {"start_logits": start_logits, "end_logits": end_logits}
        if is_judged:
            outputs["answer_class_logits"] = self.answer_class(start_states[:, 0], cls_states)
        return outputs

    def _search(self, hidden_states: Any, allowed: Any, start_logits: Any, cls_states: Any) -> dict[str, Any]:
        start_probs = self._probs(start_logits, allowed)  # (batch, length)
        start_top_probs, start_top_index = self._top(start_probs, self.start_n_top)
        start_states = _take(hidden_states, start_top_index)[:, :, None]  # (batch, start, 1, dim)
        end_logits = self._allowed(self.end_logits(hidden_states[:, None], start_states), allowed[:, None])
        end_probs = self._probs(end_logits, allowed[:, None])
        end_top_probs, end_top_index = self._top(end_probs, self.end_n_top)  # (batch, start, end)
        expected_start = ops.matmul(start_probs[:, None], ops.cast(hidden_states, "float32"))[:, 0]  # (batch, dim)
        flat = (-1, self.start_n_top * self.end_n_top)
        return {
            # Probabilities, whatever their name says: so the reference computes them.
            "start_top_log_probs": start_top_probs,
            "start_top_index": start_top_index,
            "end_top_log_probs": ops.reshape(ops.transpose(end_top_probs, (0, 2, 1)), flat),
            "end_top_index": ops.reshape(ops.transpose(end_top_index, (0, 2, 1)), flat),
            "cls_logits": self.answer_class(ops.cast(expected_start, hidden_states.dtype), cls_states),
        }

    def _probs(self, logits: Any, allowed: Any) -> Any:
        probs = softmax(logits)
        # Where nothing is allowed, a softmax makes all positions alike, however many there are with the padding.
        return probs if self.over_padding else ops.where(allowed, probs, 0.0)

    def _top(self, probs: Any, k: int) -> tuple[Any, Any]:
        """The k best of the last axis; a short one is filled up with probability 0."""
        filler = ops.zeros((*ops.shape(probs)[:-1], k), dtype=probs.dtype)
        best, index = ops.top_k(ops.concatenate([probs, filler], axis=-1), k=k)
        index = ops.minimum(ops.cast(index, "int32"), ops.shape(probs)[-1] - 1)
        # Which of the positions without any probability is named would depend on the padding there is.
        return best, index if self.over_padding else ops.where(best > 0, index, 0)

    def _allowed(self, logits: Any, allowed: Any) -> Any:
        """float32 (..., length)."""
        return ops.where(allowed, ops.cast(logits, "float32"), IMPOSSIBLE)


def _check_shape(name: str, values: Any, axes: str, *shapes: tuple[int | None, ...]) -> None:
    if values is not None and not any(fits(tuple(values.shape), shape) for shape in shapes):
        raise InputError(f"{name} must have shape {axes}, here {shapes[0]}, got {tuple(values.shape)}.")


def _rows(values: Any) -> Any:
    return to_int32(ops.reshape(values, (-1,)))


class Scores(Layer):
    """One score for each vector, or for each pair of vectors through a hidden layer.

    Args:
        inputs: how many vectors a score is made from, each (..., dim); their leading axes are broadcast.
        dim: width of each vector.
        hidden: whether a layer as wide, with tanh, comes between.
        norm_epsilon: epsilon of a normalisation after it; None for none.
        use_bias: whether the last layer has a bias.
        kernel_initializer: of the kernels.

    Returns:
        (...).
    """

    def __init__(
        self,
        inputs: int,
        *,
        dim: int,
        hidden: bool = True,
        norm_epsilon: float | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.inputs = dim, inputs
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.hidden = Dense(dim, name="dense_0", **options) if hidden else None
        self.norm = (
            None
            if norm_epsilon is None
            else keras.layers.LayerNormalization(epsilon=norm_epsilon, name="layer_norm", dtype=self.dtype_policy)
        )
        self.score = Dense(1, use_bias=use_bias, name="dense_1" if hidden else "dense", **options)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        if self.hidden is not None:
            self.hidden.build((None, self.inputs * self.dim))
        if self.norm is not None:
            self.norm.build((None, self.dim))
        self.score.build((None, self.dim))
        self.built = True

    def call(self, *vectors: Any) -> Any:
        """Scores; see the class."""
        x = vectors[0]
        if self.hidden is not None:
            x = ops.tanh(self._hidden(vectors))
        if self.norm is not None:
            x = self.norm(x)
        return self.score(x)[..., 0]

    def _hidden(self, vectors: tuple[Any, ...]) -> Any:
        """The hidden layer of the vectors side by side."""
        layer: Any = self.hidden
        if layer.quantization_mode is not None:
            zeros = ops.zeros_like(sum(vectors[1:], vectors[0]))
            return layer(ops.concatenate([x + zeros for x in vectors], axis=-1))
        # A sum of parts, so that what is broadcast is multiplied once: a beam of five starts costs a third.
        kernel = ops.cast(layer.kernel, self.compute_dtype)
        parts = [_matmul(x, kernel[i * self.dim : (i + 1) * self.dim]) for i, x in enumerate(vectors)]
        return sum(parts[1:], parts[0]) + ops.cast(layer.bias, self.compute_dtype)


def _matmul(x: Any, kernel: Any) -> Any:
    """(..., dim) times (dim, units), as one product of matrices."""
    product = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
    return ops.reshape(product, (*ops.shape(x)[:-1], kernel.shape[-1]))
