"""From model outputs to small answers, as pipelines and served models give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from tfxlm.backend import softmax
from tfxlm.heads.classification import problem_of

TOP_K = 5

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


def top_tokens(logits: Any, k: int = TOP_K) -> tuple[Any, Any]:
    """Returns the best tokens at each position.

    Args:
        logits: (batch, length, vocab_size).
        k: how many; at most vocab_size.

    Returns:
        Their ids, int32 (batch, length, k), and probabilities, float32 (batch, length, k), best first.
    """
    logits = ops.cast(logits, "float32")
    scores, ids = ops.top_k(logits, k=min(k, logits.shape[-1]))
    return ops.cast(ids, "int32"), ops.exp(scores - ops.logsumexp(logits, axis=-1, keepdims=True))


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
