"""Masks: which positions are real, and who may attend to whom."""

from __future__ import annotations

from typing import Any

from keras import ops

# Added to float32 scores before the softmax. Large enough to leave no weight, small enough that a row in which
# everything is masked stays finite.
MASKED_SCORE = -1e9


def padding_mask(
    batch: Any,
    length: Any,
    *,
    attention_mask: Any = None,
    lengths: Any = None,
    input_ids: Any = None,
    pad_token_id: int | None = None,
) -> Any:
    """Returns which positions are real, from the first of these that is given.

    Args:
        batch, length: the grid's sizes, numbers or scalar tensors.
        attention_mask: (batch, length); not zero is real.
        lengths: (batch,); the first `lengths[i]` positions of row i are real.
        input_ids: (batch, length) with `pad_token_id`: other ids are real.
        pad_token_id: id of the padding token; None makes every id real.

    Returns:
        (batch, length) boolean.
    """
    if attention_mask is not None:
        return ops.not_equal(attention_mask, 0)
    if lengths is not None:
        return ops.arange(length)[None, :] < ops.cast(lengths, "int32")[:, None]
    if input_ids is not None and pad_token_id is not None:
        return ops.not_equal(input_ids, pad_token_id)
    return ops.ones((batch, length), dtype="bool")


def attention_bias(mask: Any, *, causal: Any = False, queries: Any = None) -> Any:
    """Returns what is added to attention scores so that masked keys get no weight.

    Args:
        mask: (batch, key) boolean, True at real positions.
        causal: whether a query attends only to its own and earlier positions; combines with `mask`. True or False, or a
            tensor (batch,) of what each row does, not zero for True; None is False.
        queries: (query,) integers, the positions of the queries among the keys; all keys are queries by default.

    Returns:
        float32, (batch, 1, 1, key) or, when causal, (batch, 1, query, key).
    """
    allowed = mask[:, None, None, :]
    if causal is None or causal is False:
        return ops.where(allowed, 0.0, MASKED_SCORE)
    keys = ops.arange(ops.shape(mask)[1])
    queries = keys if queries is None else queries
    reached = keys[None, :] <= queries[:, None]  # (query, key)
    if causal is not True:
        reached = ops.logical_or(reached, ops.equal(causal, 0)[:, None, None, None])  # (batch, 1, query, key)
    allowed = ops.logical_and(allowed, reached)  # (batch, 1, query, key)
    return ops.where(allowed, 0.0, MASKED_SCORE)
