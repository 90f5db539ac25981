"""What is made of the scores of the next token before one is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from tfxlm.generation.options import GenerationOptions

# The score of what may not be chosen.
NEVER = -np.inf


class Rules:
    """Which tokens may come next, and at what price.

    Args:
        options: how to generate.
    """

    def __init__(self, options: GenerationOptions) -> None:
        self.options = options

    def __call__(self, scores: Any, texts: Any, end: Any, too_short: Any) -> Any:
        """Applies the rules, in the order of `transformers`.

        Args:
            scores: float32 (rows, vocab_size).
            texts: int32 (rows, width): the tokens before; -1 where there is none.
            end: int32 scalar: the column of the next token; all texts end before it.
            too_short: boolean (rows,): the texts that may not end yet.

        Returns:
            float32 (rows, vocab_size).
        """
        options, vocab_size = self.options, scores.shape[-1]
        if options.repetition_penalty != 1:
            penalty = options.repetition_penalty
            repeated = ops.where(scores < 0, scores * penalty, scores / penalty)
            scores = ops.where(_marked(texts, texts >= 0, vocab_size), repeated, scores)
        size = options.no_repeat_ngram_size
        if size:
            scores = ops.where(_marked(*_after_ngrams(texts, end, size), vocab_size), NEVER, scores)
        if options.eos_token_ids:
            ends = np.isin(np.arange(vocab_size), options.eos_token_ids)
            scores = ops.where(ops.logical_and(too_short[:, None], ends), NEVER, scores)
        if options.do_sample:
            scores = _likeliest(scores / options.temperature, options.top_k, options.top_p)
        return scores

    def are_ends(self, tokens: Any) -> Any:
        """Returns which tokens end a text, boolean of their shape."""
        found = ops.zeros_like(tokens, dtype="bool")
        for token in self.options.eos_token_ids:
            found = ops.logical_or(found, ops.equal(tokens, token))
        return found


def _marked(ids: Any, are_meant: Any, vocab_size: int) -> Any:
    """Returns which words are among the ids (rows, some) that are meant: boolean (rows, vocab_size)."""
    rows, count = ops.shape(ids)
    places = ops.stack([ops.repeat(ops.arange(rows), count), ops.reshape(ops.maximum(ids, 0), (-1,))], axis=1)
    found = ops.scatter(places, ops.cast(ops.reshape(are_meant, (-1,)), "float32"), (rows, vocab_size))
    return found > 0


def _after_ngrams(texts: Any, end: Any, size: int) -> tuple[Any, Any]:
    """Returns what followed the last `size` - 1 tokens of a text wherever it has these before.

    Returns:
        int32 (rows, places), and which of them are meant, boolean.
    """
    width = ops.shape(texts)[1]
    places = width - size + 1
    # A text that is shorter has no token somewhere here, and then nothing is meant.
    first = ops.maximum(end - size + 1, 0)
    are_meant = ops.logical_and(texts[:, size - 1 :] >= 0, ops.arange(size - 1, width) < end)
    for offset in range(size - 1):
        last = ops.take(texts, ops.reshape(first + offset, (1,)), axis=1)
        same = ops.logical_and(ops.equal(texts[:, offset : offset + places], last), last >= 0)
        are_meant = ops.logical_and(are_meant, same)
    return texts[:, size - 1 :], are_meant


def _likeliest(scores: Any, top_k: int, top_p: float) -> Any:
    """Leaves the `top_k` best, and of these the fewest that have `top_p` of the probability; 0 and 1 for all."""
    vocab_size = scores.shape[-1]
    count = min(top_k, vocab_size) if top_k else vocab_size
    if count == vocab_size and top_p == 1:
        return scores
    best, _ = ops.top_k(scores, count)
    kept = count
    if top_p < 1:
        shares = ops.softmax(best, axis=-1)
        before = ops.cumsum(shares, axis=-1) - shares
        kept = ops.sum(ops.cast(before < top_p, "int32"), axis=-1, keepdims=True)
        # The best is kept whatever rounding does.
        kept = ops.maximum(kept, 1)
    least = best[:, -1:] if top_p == 1 else ops.take_along_axis(best, kept - 1, axis=1)
    return ops.where(scores < least, NEVER, scores)


def drawn(scores: Any, draws: Any) -> Any:
    """Draws a token for each row: the first whose share of the probability, and those before it, exceed the draw.

    Args:
        scores: float32 (rows, vocab_size), unnormalised log-probabilities.
        draws: float32 (rows,), uniform in [0, 1).

    Returns:
        int32 (rows,).
    """
    upto = ops.cumsum(ops.softmax(scores, axis=-1), axis=-1)
    # Tokens without probability add nothing, and are passed over with the one before them.
    return ops.sum(ops.cast(upto <= draws[:, None] * upto[:, -1:], "int32"), axis=-1)
