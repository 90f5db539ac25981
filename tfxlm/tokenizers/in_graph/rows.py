"""Rows of words: texts that are words already."""

from __future__ import annotations

import tensorflow as tf

from tfxlm.tokenizers.in_graph.base import GraphTokenizer, Inputs


def rows_of_words(
    tokenizer: GraphTokenizer, words: tf.Tensor, lang: tf.Tensor | None = None
) -> tuple[Inputs, tf.Tensor, tf.Tensor]:
    """Turns rows of words into model inputs; each word is cut into pieces for itself.

    Args:
        tokenizer: the tokenizer.
        words: string (batch, words); empty words have no pieces.
        lang: string (batch,): language codes, as for the tokenizer.

    Returns:
        The inputs; the position of each word's first piece, int32 (batch, words); and whether it has one that was not
        cut off, boolean (batch, words).
    """
    shape = tf.shape(words)
    langs = None if lang is None else tf.repeat(lang, shape[1])
    pieces = tokenizer.piece_ids(tf.reshape(words, [-1]), langs, are_words=True)
    sizes = tf.reshape(tf.cast(pieces.row_lengths(), tf.int32), shape)
    rows = tf.RaggedTensor.from_row_lengths(pieces.flat_values, tf.reduce_sum(sizes, axis=1), validate=False)
    inputs = tokenizer.frame(rows, None, lang, lang)
    of_rows = tf.repeat(tf.range(shape[0]), shape[1])
    places = tf.reshape(tf.cumsum(sizes, axis=1, exclusive=True), [-1])
    places = tokenizer.places(inputs, places, rows, of_rows)
    found = (tf.reshape(sizes, [-1]) > 0) & tokenizer.are_kept(inputs, places, of_rows)
    return inputs, tf.reshape(tf.where(found, places, 0), shape), tf.reshape(found, shape)
