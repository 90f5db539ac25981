"""What served models make of raw texts, by task: the tokenizer stands in the graph, before the model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxlm.export.inputs import Tensors
from tfxlm.export.served import Served
from tfxlm.heads.decode import TOP_K, top_tokens
from tfxlm.tokenizers.in_graph import Inputs, segments, utf8
from tfxlm.tokenizers.in_graph.expressions import when
from tfxlm.tokenizers.in_graph.masks import with_masks
from tfxlm.tokenizers.in_graph.rows import rows_of_words


def one_text(served: Served, given: Tensors) -> Tensors:
    """Asks with one text in each row."""
    inputs = served.tokenizer(given["text"], lang=given.get("lang"))
    return served.answer(served.outputs(inputs), inputs)


def pairs(served: Served, given: Tensors) -> Tensors:
    """Asks with pairs of texts."""
    inputs = served.tokenizer(given["text"], given["text_pair"], given.get("lang"), given.get("lang_pair"))
    return served.answer(served.outputs(inputs), inputs)


def words(served: Served, given: Tensors) -> Tensors:
    """Asks with rows of words; each has the label of its first piece."""
    words = given["words"]
    # What stands behind a row's words fills it up.
    words = tf.where(tf.sequence_mask(given["num_words"], tf.shape(words)[1]), words, "")
    inputs, places, found = rows_of_words(served.tokenizer, words, given.get("lang"))
    answer = served.answer(served.outputs(inputs), inputs)
    of_words = {name: tf.gather(value, places, batch_dims=1) for name, value in answer.items()}
    return {name: tf.where(found, value, tf.zeros_like(value)) for name, value in of_words.items()}


def words_of_text(served: Served, given: Tensors) -> Tensors:
    """Cuts texts into the words of the tokenizer, and labels each by its first piece.

    Returns:
        `words` and `label`, string (batch, words), `score`, float32 (batch, words), `starts` and `ends`, int32
        (batch, words), characters of the text, and `num_words`, int32 (batch,).
    """
    lang, text = given.get("lang"), utf8.valid(given["text"])
    located = served.tokenizer.located(text, lang)
    pieces, rows = located.pieces, located.pieces.value_rowids()
    inputs = served.tokenizer.frame(pieces, None, lang, lang)
    answer = served.answer(served.outputs(inputs), inputs)
    numbers = located.words.flat_values
    begins = segments.begins(rows) | tf.concat([numbers[:1] < 0, numbers[1:] != numbers[:-1]], axis=0)
    first = tf.where(begins)[:, 0]
    # A word ends before the next one begins, and the last one with the last piece.
    last = tf.concat([first[1:], tf.size(rows, tf.int64)[None]], axis=0)[: tf.size(first)] - 1
    rows = tf.gather(rows, first)
    inside = tf.cast(first - tf.gather(pieces.row_starts(), rows), tf.int32)
    places = served.tokenizer.places(inputs, inside, pieces, rows)
    kept = served.tokenizer.are_kept(inputs, places, rows)
    at = tf.stack([tf.cast(rows, tf.int32), tf.where(kept, places, 0)], axis=1)
    of_words = {name: tf.gather_nd(value, at) for name, value in answer.items()}
    found = {name: tf.where(kept, value, tf.zeros_like(value)) for name, value in of_words.items()}
    starts, ends = tf.gather(located.starts.flat_values, first), tf.gather(located.ends.flat_values, last)
    words = tf.strings.substr(tf.gather(text, rows) + " ", starts, ends - starts, unit="UTF8_CHAR")
    found |= {"words": words, "starts": starts, "ends": ends}
    count = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, tf.size(text, tf.int64))
    tables = {
        name: tf.RaggedTensor.from_row_lengths(value, count, validate=False).to_tensor()
        for name, value in found.items()
    }
    return {**tables, "num_words": tf.cast(count, tf.int32)}


def choices(served: Served, given: Tensors) -> Tensors:
    """Asks with a text and several that may follow it."""
    choices = given["choices"]
    count = tf.shape(choices)[1]
    lang = given.get("lang")
    prompts, langs = (None if one is None else tf.repeat(one, count) for one in (given["text"], lang))
    inputs = served.tokenizer(prompts, tf.reshape(choices, [-1]), langs)
    return served.answer(served.outputs(inputs, count), inputs, num_choices=given["num_choices"])


def filled_masks(served: Served, given: Tensors, *, top_k: int = TOP_K) -> Tensors:
    """Asks for what the masks in texts stand for."""
    inputs, places, found = with_masks(served.tokenizer, served.source, given["text"], given.get("lang"))
    logits = served.outputs(inputs, masked_positions=places)["logits"]  # (batch, masks, vocab_size)
    ids, scores = top_tokens(logits, found, k=top_k)
    names = _names_of_tokens(served.source, logits.shape[-1])
    return {"tokens": tf.where(ids < 0, "", tf.gather(names, tf.maximum(ids, 0))), "ids": ids, "scores": scores}


def _names_of_tokens(tokenizer: Any, size: int) -> tf.Tensor:
    """Returns the text of each id, string (size,); empty for ids that the tokenizer does not have."""
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    names = {index: tokenizer.convert_tokens_to_string([token]).strip() for index, token in tokens.items()}
    return tf.constant([names.get(index, "").encode(errors="replace") for index in range(size)])


def texts_or_pairs(served: Served, given: Tensors) -> Tensors:
    """Asks with a text in each row, or with a pair of them where the second one is not empty."""
    tokenizer, lang, pair = served.tokenizer, given.get("lang"), given["text_pair"]
    lang_pair = given.get("lang_pair")
    if lang is not None and lang_pair is not None:
        lang_pair = tf.where(lang_pair == "", lang, lang_pair)
    first = tokenizer.piece_ids(given["text"], lang)
    single = tokenizer.frame(first, None, lang, lang)
    parts = [part for part in single if part is not None]
    has_pair = pair != ""

    def with_pairs() -> list[tf.Tensor]:
        second = tokenizer.piece_ids(pair, lang_pair)
        double = [part for part in tokenizer.frame(first, second, lang, lang_pair) if part is not None]
        length = tf.maximum(tf.shape(double[0])[1], tf.shape(parts[0])[1])

        def row_of(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
            if len(one.shape) == 1:
                return tf.where(has_pair, other, one)
            one, other = (tf.pad(part, [[0, 0], [0, length - tf.shape(part)[1]]]) for part in (one, other))
            return tf.where(has_pair[:, None], other, one)

        return [row_of(*both) for both in zip(parts, double, strict=True)]

    found = when(tf.reduce_any(has_pair), with_pairs, lambda: parts)
    inputs = Inputs(*found, *([None] * (len(Inputs._fields) - len(found))))
    return served.answer(served.outputs(inputs), inputs)
