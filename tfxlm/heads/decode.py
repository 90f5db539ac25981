"""From model outputs to small answers, as pipelines and served models give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from tfxlm.backend import argmax, softmax
from tfxlm.heads.classification import problem_of

TOP_K = 5

# The longest answer that a span of tokens may be, as scripts for SQuAD have it.
MAX_ANSWER_LENGTH = 30

# What there is no answer in the place of: an index, where a row has fewer answers than were asked for.
NONE = -1

# Below every score that counts, and far from overflow.
_LOWEST = -1e30

# From logits to scores, by problem.
SCORES: Mapping[str, Callable[[Any], Any]] = {
    "multi_label_classification": ops.sigmoid,
    "regression": lambda logits: logits,
    "single_label_classification": softmax,
}


def classification_scores(logits: Any, problem_type: str | None = None) -> Any:
    """Turns a classifier's logits into scores.

    Args:
        logits: (batch, num_labels).
        problem_type: see `tfxlm.configs.PreTrainedConfig`; without it `problem_of` decides.

    Returns:
        float32 (batch, num_labels): probabilities that add up to one; a probability for each label with
        "multi_label_classification"; the values themselves with "regression".
    """
    logits = ops.cast(logits, "float32")
    return SCORES[problem_of(None, logits.shape[-1], problem_type)](logits)


def top_tokens(logits: Any, mask: Any, k: int = TOP_K) -> tuple[Any, Any]:
    """Returns the best tokens at each position.

    Args:
        logits: (batch, length, vocab_size).
        mask: (batch, length) boolean, True at real positions.
        k: how many; at most vocab_size.

    Returns:
        Their ids, int32 (batch, length, k), and probabilities, float32 (batch, length, k), best first; at padding
        -1 and 0.
    """
    logits = ops.cast(logits, "float32")
    scores, ids = ops.top_k(logits, k=min(k, logits.shape[-1]))
    probs = ops.exp(scores - ops.logsumexp(logits, axis=-1, keepdims=True))
    return _where_real(mask[:, :, None], ids, probs)


def token_labels(logits: Any, mask: Any) -> tuple[Any, Any]:
    """Returns the best label of each token.

    Args:
        logits: (batch, length, num_labels).
        mask: (batch, length) boolean, True at real positions.

    Returns:
        Their ids, int32 (batch, length), and probabilities, float32 (batch, length); at padding -1 and 0.
    """
    probs = softmax(ops.cast(logits, "float32"))
    return _where_real(mask, argmax(probs), ops.max(probs, axis=-1))


def _where_real(mask: Any, ids: Any, scores: Any) -> tuple[Any, Any]:
    return ops.where(mask, ops.cast(ids, "int32"), NONE), ops.where(mask, scores, 0.0)


def choice_scores(logits: Any, num_choices: Any = None) -> Any:
    """Turns the logits of choices into probabilities.

    Args:
        logits: (batch, choices).
        num_choices: int (batch,), how many choices each row has; those after them only fill it up. All by default.

    Returns:
        float32 (batch, choices), which add up to one; 0 for what fills a row up.
    """
    logits = ops.cast(logits, "float32")
    if num_choices is None:
        return softmax(logits)
    real = ops.arange(ops.shape(logits)[1])[None, :] < ops.cast(num_choices, "int32")[:, None]
    return ops.where(real, softmax(ops.where(real, logits, _LOWEST)), 0.0)


def span_answers(
    start_logits: Any,
    end_logits: Any,
    allowed: Any,
    *,
    k: int = TOP_K,
    max_length: int = MAX_ANSWER_LENGTH,
    elsewhere: Any = None,
) -> tuple[Any, Any, Any]:
    """Returns the best spans of each row: first and last token allowed, in order, and not too far from each other.

    Args:
        start_logits, end_logits: (batch, length).
        allowed: (batch, length) boolean, True where an answer may start and end: real positions of the context.
        k: how many.
        max_length: the most tokens an answer has.
        elsewhere: (batch, length) boolean, True at positions that take probability though no answer may be there, such
            as the one that stands for "no answer"; none by default.

    Returns:
        Their starts and ends, int32 (batch, k), both inclusive, and scores, float32 (batch, k), best first: the
        probability of the start times that of the end, each among the allowed positions and `elsewhere`. Of equal
        spans the earlier comes first, then the shorter. A row with fewer than k spans ends with -1, -1 and 0.
    """
    counted = allowed if elsewhere is None else ops.logical_or(allowed, elsewhere)
    start_logits, end_logits = (
        ops.where(counted, ops.cast(logits, "float32"), _LOWEST) for logits in (start_logits, end_logits)
    )
    length = ops.shape(start_logits)[1]
    # Only spans of up to max_length tokens are made: (batch, length, max_length) of them, not length squared.
    starts = ops.arange(length, dtype="int32")[:, None]
    ends = starts + ops.arange(max_length, dtype="int32")[None, :]  # (length, max_length)
    inside = ops.minimum(ends, length - 1)
    # By logits, whose order is that of the scores, but for what rounding makes equal. No padding takes part in them.
    totals = start_logits[:, :, None] + ops.take(end_logits, inside, axis=1)
    valid = ops.logical_and(allowed[:, :, None], ops.take(allowed, inside, axis=1))
    valid = ops.logical_and(valid, ends < length)
    total, index = _best(ops.where(valid, totals, -np.inf), k)
    starts = index // max_length
    ends = starts + index % max_length
    norms = ops.logsumexp(start_logits, axis=-1) + ops.logsumexp(end_logits, axis=-1)
    return _found(total > -np.inf, starts, ends, ops.exp(total - norms[:, None]))


def no_answer_scores(start_logits: Any, end_logits: Any, counted: Any, index: Any) -> Any:
    """Returns the probability that spans begin and end where "no answer" stands.

    Args:
        start_logits, end_logits: (batch, length).
        counted: (batch, length) boolean, True at positions that take probability.
        index: int32 (batch,): the position that stands for "no answer".

    Returns:
        float32 (batch,).
    """
    total = 0.0
    for logits in (start_logits, end_logits):
        logits = ops.where(counted, ops.cast(logits, "float32"), _LOWEST)
        own = ops.take_along_axis(logits, index[:, None], axis=1)[:, 0]
        total = total + own - ops.logsumexp(logits, axis=-1)
    return ops.exp(total)


def beam_answers(
    outputs: Mapping[str, Any], allowed: Any, *, k: int = TOP_K, max_length: int = MAX_ANSWER_LENGTH
) -> tuple[Any, Any, Any]:
    """Returns the best spans that a beam found; see `span_answers`.

    Args:
        outputs: `start_top_log_probs`, `start_top_index`, `end_top_log_probs` and `end_top_index`, as
            `tfxlm.models.TFXLMForQuestionAnsweringOutput` describes them.
        allowed: (batch, length) boolean, True where an answer may start and end.
        k: how many.
        max_length: the most tokens an answer has.

    Returns:
        As `span_answers`; a score is the probability of the start times that of the end, given that start.
    """
    start_probs, starts = outputs["start_top_log_probs"], outputs["start_top_index"]  # (batch, start)
    num_starts = start_probs.shape[1]
    num_ends = outputs["end_top_index"].shape[1] // num_starts
    start_probs, starts = (ops.repeat(value, num_ends, axis=1) for value in (start_probs, starts))

    def by_start(value: Any) -> Any:
        """(batch, end * start) -> (batch, start * end)."""
        grid = ops.reshape(value, (-1, num_ends, num_starts))
        return ops.reshape(ops.transpose(grid, (0, 2, 1)), (-1, num_starts * num_ends))

    ends, end_probs = by_start(outputs["end_top_index"]), by_start(outputs["end_top_log_probs"])
    valid = ops.logical_and(ends >= starts, ends - starts < max_length)
    for index, probs in ((starts, start_probs), (ends, end_probs)):
        # A beam that finds too little is filled up with probability 0.
        valid = ops.logical_and(valid, ops.logical_and(ops.take_along_axis(allowed, index, axis=1), probs > 0))
    # The product alone would be 0 for small probabilities, which are answers too.
    logs = [ops.log(ops.where(valid, ops.cast(probs, "float32"), 1.0)) for probs in (start_probs, end_probs)]
    total, place = _best(ops.where(valid, logs[0] + logs[1], -np.inf), k)
    starts, ends = (ops.take_along_axis(index, place, axis=1) for index in (starts, ends))
    return _found(total > -np.inf, starts, ends, ops.exp(total))


def _best(scores: Any, k: int) -> tuple[Any, Any]:
    """The k best numbers of each row of (batch, ...), and their places in it; -inf where there are fewer."""
    batch = ops.shape(scores)[0]
    flat = ops.reshape(scores, (batch, -1))
    best, index = ops.top_k(ops.concatenate([flat, ops.full((batch, k), -np.inf)], axis=1), k=k)
    # What fills a row up stands nowhere; it is dropped by its score.
    return best, ops.minimum(ops.cast(index, "int32"), ops.shape(flat)[1] - 1)


def _found(valid: Any, starts: Any, ends: Any, scores: Any) -> tuple[Any, Any, Any]:
    return ops.where(valid, starts, NONE), ops.where(valid, ends, NONE), ops.where(valid, scores, 0.0)


def first_embedding(hidden_states: Any, mask: Any) -> Any:
    """Returns the hidden state of the first real position; arguments and result as of `mean_embedding`."""
    first = ops.argmax(ops.cast(mask, "int32"), axis=1)
    return ops.cast(ops.take_along_axis(hidden_states, first[:, None, None], axis=1)[:, 0], "float32")


def unit_length(vectors: Any) -> Any:
    """Scales vectors (..., dim) to length 1; a vector of zeros stays one."""
    norm = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return vectors / ops.maximum(norm, 1e-12)


def mean_embedding(hidden_states: Any, mask: Any) -> Any:
    """Averages hidden states over real positions.

    Args:
        hidden_states: (batch, length, dim).
        mask: (batch, length) boolean.

    Returns:
        float32 (batch, dim).
    """
    weights = ops.cast(mask, "float32")[:, :, None]
    total = ops.sum(ops.cast(hidden_states, "float32") * weights, axis=1)
    return total / ops.maximum(ops.sum(weights, axis=1), 1)
