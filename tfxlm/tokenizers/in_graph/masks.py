"""Texts with masked words, whose mask is a token and all else text."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxlm.tokenizers.in_graph import segments
from tfxlm.tokenizers.in_graph.base import GraphTokenizer, Inputs
from tfxlm.tokenizers.in_graph.expressions import expression

_SPACE_BEFORE, _SPACE_AFTER = expression(r"[{space}]+{end}"), expression(r"^[{space}]+")


def with_masks(
    tokenizer: GraphTokenizer, source: Any, text: tf.Tensor, lang: tf.Tensor | None = None
) -> tuple[Inputs, tf.Tensor, tf.Tensor]:
    """Turns texts into model inputs, the mask token in them into its id.

    Args:
        tokenizer: the tokenizer.
        source: the tokenizer that it was made of, for its mask token.
        text: string (batch,).
        lang: string (batch,): language codes, as for the tokenizer.

    Returns:
        The inputs; the positions of the masks, int32 (batch, masks), with one at least; and which of these are some,
        and were not cut off, boolean (batch, masks).
    """
    token = source.special.tokens[source.mask_token_id]
    parts = tf.strings.split(text, sep=token.content)
    rows = parts.value_rowids()
    is_last = segments.ends(rows)
    is_first = segments.begins(rows)
    texts = parts.flat_values
    if token.lstrip:
        texts = tf.where(is_last, texts, tf.strings.regex_replace(texts, _SPACE_BEFORE, ""))
    if token.rstrip:
        texts = tf.where(is_first, texts, tf.strings.regex_replace(texts, _SPACE_AFTER, ""))
    pieces = tokenizer.piece_ids(texts, None if lang is None else tf.gather(lang, rows))
    # A mask follows each part but the last.
    sizes = pieces.row_lengths()
    counts = sizes + tf.cast(~is_last, tf.int64)
    ends = tf.cumsum(counts) - 1
    masks = tf.boolean_mask(ends, ~is_last)
    total = tf.reduce_sum(counts)
    is_mask = tf.scatter_nd(masks[:, None], tf.ones_like(masks, tf.bool), total[None])
    ids = tf.fill(total[None], source.mask_token_id)
    ids = tf.tensor_scatter_nd_update(ids, tf.where(~is_mask), pieces.flat_values)
    row_lengths = tf.math.unsorted_segment_sum(counts, rows, parts.nrows())
    whole = tf.RaggedTensor.from_row_lengths(ids, row_lengths, validate=False)
    inputs = tokenizer.frame(whole, None, lang, lang)
    # The place of each mask in its row, if it was not cut off: a text of masks alone must not make all rows as wide.
    of_rows = tf.boolean_mask(rows, ~is_last)
    inside = tf.cast(masks - tf.gather(whole.row_starts(), of_rows), tf.int32)
    places = tokenizer.places(inputs, inside, whole, of_rows)
    kept = tokenizer.are_kept(inputs, places, of_rows)
    found = tf.RaggedTensor.from_value_rowids(
        tf.boolean_mask(places, kept), tf.boolean_mask(of_rows, kept), parts.nrows(), validate=False
    )
    most = tf.reduce_max(tf.concat([found.row_lengths(), [1]], axis=0))
    return inputs, found.to_tensor(shape=tf.stack([-1, most])), tf.sequence_mask(found.row_lengths(), most)
