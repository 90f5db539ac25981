"""Mask-predict: a masked model fills many masks in a few rounds, and thinks again where it was least sure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from keras import ops

from tfxlm.backend import argmax
from tfxlm.generation.scores import NEVER


def filled(
    are_masks: Any,
    predict: Callable[[Any], Any],
    *,
    mask_token_id: int,
    iterations: int,
    forbidden: Iterable[int] = (),
) -> Any:
    """Fills masks.

    The first round predicts all of them. Of N masks, round t of T then predicts the N (T - t) / T anew that had the
    least probability, given all others.

    Args:
        are_masks: boolean (batch, masks): which there are; others only fill rows up.
        predict: from the tokens in their places, int32 (batch, masks), to scores (batch, masks, vocab_size).
        mask_token_id: the id of a mask.
        iterations: how many rounds, T.
        forbidden: ids that are not predicted.

    Returns:
        The tokens, int32 (batch, masks).

    Source: Ghazvininejad et al., "Mask-Predict: Parallel Decoding of Conditional Masked Language Models" (2019),
        section 3.
    """
    counts = ops.sum(ops.cast(are_masks, "int32"), axis=1, keepdims=True)

    def predicted(tokens: Any, probabilities: Any, are_open: Any) -> tuple[Any, Any]:
        scores = ops.cast(predict(ops.where(are_open, mask_token_id, tokens)), "float32")
        refused = np.isin(np.arange(scores.shape[-1]), list(forbidden))
        scores = ops.where(refused, NEVER, scores)
        best = ops.max(ops.softmax(scores, axis=-1), axis=-1)
        found = argmax(scores)
        return ops.where(are_open, found, tokens), ops.where(are_open, best, probabilities)

    def proceed(turn: Any, tokens: Any, probabilities: Any) -> tuple[Any, Any, Any]:
        again = counts * (iterations - turn) // iterations
        # The rank of each mask, from the least sure on; what is none comes last.
        order = ops.argsort(ops.where(are_masks, probabilities, 2.0), axis=1)
        ranks = ops.cast(ops.argsort(order, axis=1), "int32")
        return (turn + 1, *predicted(tokens, probabilities, are_masks & (ranks < again)))

    none = ops.zeros_like(are_masks, dtype="int32")
    first = predicted(none, ops.ones_like(are_masks, dtype="float32"), are_masks)
    turn = ops.convert_to_tensor(1, "int32")
    _, tokens, _ = ops.while_loop(lambda turn, *_: turn < iterations, proceed, (turn, *first))
    return tokens
