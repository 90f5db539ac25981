"""The adaptive softmax: an output layer that spends little on rare words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from keras import ops

from tfxlm.backend import can_find_rows, gather
from tfxlm.layers.layer import Layer
from tfxlm.layers.projection import Projection


class AdaptiveSoftmax(Layer):
    """Log-probabilities of words in clusters (Grave et al., 2017, "Efficient softmax approximation for GPUs").

    Word ids are sorted by how frequent the words are. The head scores the most frequent ones and each cluster of
    others; a cluster's tail scores its words, from a vector that is narrower the rarer they are. The variables are
    those of PyTorch's `AdaptiveLogSoftmaxWithLoss` with a bias in the head.

    Args:
        dim: width of the hidden states.
        vocab_size: number of words.
        cutoffs: first id of each cluster, increasing; ids below the first are scored by the head.
        div_value: each cluster's vector is narrower than the one before by this factor, beginning with
            `dim / div_value`.
        kernel_initializer: of all kernels.

    Call arguments:
        x: float (..., dim).

    Returns:
        float32 (..., vocab_size), log-probabilities.
    """

    def __init__(
        self,
        dim: int,
        vocab_size: int,
        cutoffs: Sequence[int],
        *,
        div_value: float = 4.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim, self.vocab_size = dim, vocab_size
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        # (first id, id behind the last) of the words that the head scores, and of those of each tail.
        self.clusters = list(pairwise([0, *cutoffs, vocab_size]))
        self.head = Projection(dim, cutoffs[0] + len(cutoffs), name="head", **options)
        self.tails = [
            _Tail(dim, int(dim // div_value ** (index + 1)), last - first, name=f"tail_{index}", **options)
            for index, (first, last) in enumerate(self.clusters[1:])
        ]

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.head.build()
        for tail in self.tails:
            tail.build()
        self.built = True

    def call(self, x: Any) -> Any:
        """Computes the log-probabilities of all words; see the class."""
        rows = ops.reshape(x, (-1, self.dim))
        words, clusters = self._head(rows)
        parts = [words] + [clusters[:, i : i + 1] + _log_softmax(tail(rows)) for i, tail in enumerate(self.tails)]
        return ops.reshape(ops.concatenate(parts, axis=-1), (*ops.shape(x)[:-1], self.vocab_size))

    def target_log_probs(self, x: Any, labels: Any) -> Any:
        """Returns the log-probability of one word at each position, as a loss needs it.

        Where rows can be found (see `tfxlm.backend.can_find_rows`), a tail sees only the positions whose word is its
        own: that is the layer's saving. Elsewhere every tail sees all.

        Args:
            x: float (..., dim).
            labels: int32 (...), ids in [0, vocab_size).

        Returns:
            float32 (...).
        """
        rows, ids = ops.reshape(x, (-1, self.dim)), ops.reshape(labels, (-1,))
        words, clusters = self._head(rows)
        log_probs = _taken(words, ids)
        for index, (tail, (first, last)) in enumerate(zip(self.tails, self.clusters[1:], strict=True)):
            inside = ops.logical_and(ids >= first, ids < last)
            if can_find_rows():
                found = ops.cast(ops.nonzero(inside)[0], "int32")
                in_tail = _taken(_log_softmax(tail(gather(rows, found))), gather(ids, found) - first)
                in_tail = ops.scatter(found[:, None], in_tail, ops.shape(ids))
            else:
                in_tail = _taken(_log_softmax(tail(rows)), ids - first)
            log_probs = ops.where(inside, clusters[:, index] + in_tail, log_probs)
        return ops.reshape(log_probs, ops.shape(labels))

    def _head(self, rows: Any) -> tuple[Any, Any]:
        """Returns the log-probabilities (rows, words) of the head's own words, and (rows, tails) of the clusters."""
        log_probs = _log_softmax(self.head(rows))
        count = self.clusters[0][1]
        return log_probs[:, :count], log_probs[:, count:]


class _Tail(Layer):
    """Scores of a cluster's words, from a narrow vector: (rows, dim) -> (rows, words)."""

    def __init__(self, dim: int, inner_dim: int, words: int, *, kernel_initializer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        options: dict[str, Any] = {"kernel_initializer": kernel_initializer, "dtype": self.dtype_policy}
        self.down = Projection(dim, inner_dim, use_bias=False, name="down", **options)
        self.up = Projection(inner_dim, words, use_bias=False, name="up", **options)

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        self.down.build()
        self.up.build()
        self.built = True

    def call(self, x: Any) -> Any:
        """Computes the scores; see the class."""
        return self.up(self.down(x))


def _log_softmax(scores: Any) -> Any:
    # Half types would lose the tail.
    return ops.log_softmax(ops.cast(scores, "float32"), axis=-1)


def _taken(log_probs: Any, ids: Any) -> Any:
    """(rows, words), (rows,) -> (rows,); ids that are none of the words take any."""
    inside = ops.clip(ids, 0, log_probs.shape[-1] - 1)
    return ops.take_along_axis(log_probs, inside[:, None], axis=-1)[:, 0]
