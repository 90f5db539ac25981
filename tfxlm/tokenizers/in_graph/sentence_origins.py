"""Where the pieces of a SentencePiece model stand in the given text, as operations."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.in_graph import segments
from tfxlm.tokenizers.in_graph.codes import within
from tfxlm.tokenizers.rules import characters
from tfxlm.tokenizers.sentence_pieces import SPACE, SentencePieces

# Passes through every normalisation, and combines with nothing.
_SEPARATOR = "\ue000"


class GraphPlaces(tf.Module):
    """Says where pieces stand in their texts, as `SentencePieces.places` does.

    A second model with the same normalisation cuts texts into characters: only those that the normalisation can make
    of others, and all that it lets pass stays in runs. So each character of the normalised text is known, with its
    place in the given one, and pieces are laid over them.

    Args:
        model: the SentencePiece model; see `reason_against`.
    """

    def __init__(self, model: SentencePieces) -> None:
        import tensorflow_text

        super().__init__()
        made, self._codes = _character_model(model)
        self._characters = tensorflow_text.SentencepieceTokenizer(made, out_type=tf.int32)
        self._vanishing = _vanishing(model)
        names = ["" if index == model.unknown else name for index, name in enumerate(model.names)]
        self._unknown = model.unknown
        self._sizes = np.array(list(map(len, names)), np.int32)
        self._spaces = np.array([len(name) - len(name.lstrip(SPACE)) for name in names], np.int32)
        self._ends_word = np.array([name != SPACE and name.endswith(SPACE) for name in names])
        self._known = characters.runs(sorted(ord(name) for name in names if len(name) == 1))

    def __call__(self, texts: tf.Tensor, pieces: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the word of each piece, and start and end in its text.

        Args:
            texts: string (rows,), valid UTF-8.
            pieces: int32 (rows, None): indices of the model's pieces.

        Returns:
            int32 (pieces,), three times.
        """
        codes, rows, origins, of_end = self._normalised(texts)
        given = tf.strings.unicode_decode(texts, "UTF-8")
        ids, of_pieces = pieces.flat_values, pieces.value_rowids()
        sizes = self._piece_sizes(ids, codes, rows)
        # Behind the characters of a row stands its end, which has a place, too.
        counts = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, tf.size(texts, tf.int64))
        starts_of_rows = tf.cast(tf.cumsum(counts + 1, exclusive=True), tf.int32)
        ends_of_rows = starts_of_rows + tf.cast(counts, tf.int32)
        places = tf.scatter_nd(
            tf.concat([tf.range(tf.size(rows)) + tf.cast(rows, tf.int32), ends_of_rows], axis=0)[:, None],
            tf.concat([origins, of_end], axis=0),
            tf.size(rows)[None] + tf.size(texts),
        )
        ends = tf.cumsum(sizes)
        before = tf.gather(tf.cumsum(tf.pad(sizes, [[1, 0]])), tf.cast(pieces.row_starts(), tf.int32))
        ends += tf.gather(starts_of_rows - before, of_pieces)
        last_of_row = tf.gather(ends_of_rows, of_pieces)
        ends = tf.minimum(ends, last_of_row)
        first = ends - sizes + tf.gather(self._spaces, ids)
        start = tf.gather(places, first)
        end = tf.where(first < ends, self._end(places, ends, last_of_row, given.flat_values), start)
        own = tf.gather(tf.cast(given.row_starts(), tf.int32), of_pieces)
        return self._words(ids, of_pieces, pieces), start - own, end - own

    def _normalised(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the characters of the normalised texts.

        Returns:
            Code points, int32 (characters,); their rows, int64 (characters,); where they begin among the characters of
            all given texts, int32 (characters,); and where the last one of each row ends, int32 (rows,).
        """
        ids, starts, ends = self._characters.tokenize_with_offsets(texts)
        rows, flat = ids.value_rowids(), ids.flat_values
        given, byte_starts = tf.strings.unicode_decode_with_offsets(texts, "UTF-8")
        # From bytes to characters; behind the last byte of a text stands one more.
        sizes = tf.strings.length(texts) + 1
        text_starts = tf.cumsum(sizes, exclusive=True)
        begins = tf.cast(byte_starts.flat_values, tf.int32) + tf.gather(text_starts, given.value_rowids())
        is_start = tf.scatter_nd(begins[:, None], tf.ones_like(begins), tf.reduce_sum(sizes)[None])
        character_at = tf.cumsum(is_start, exclusive=True)
        starts, ends = (
            tf.gather(character_at, tf.cast(one.flat_values, tf.int32) + tf.gather(text_starts, rows))
            for one in (starts, ends)
        )
        own = tf.cast(given.row_starts(), tf.int32)
        last = tf.where(segments.ends(rows))
        of_end = tf.tensor_scatter_nd_update(own, tf.gather_nd(rows, last)[:, None], tf.gather_nd(ends, last))
        # What passes the normalisation is in runs: each of its characters stands for itself.
        passed = flat == 0
        counts = tf.where(passed, ends - starts, 1)
        begin = tf.cumsum(counts, exclusive=True)
        inside = tf.range(tf.reduce_sum(counts)) - tf.repeat(begin, counts)
        origins = tf.repeat(starts, counts) + inside
        passed, rows = tf.repeat(passed, counts), tf.repeat(rows, counts)
        given_codes = tf.gather(tf.pad(given.flat_values, [[0, 1]]), origins)
        codes = tf.where(passed, given_codes, tf.gather(self._codes, tf.repeat(flat, counts)))
        stays = ~(passed & within(self._vanishing, given_codes))
        codes, rows, origins = (tf.boolean_mask(value, stays) for value in (codes, rows, origins))
        return codes, rows, origins, of_end

    def _piece_sizes(self, ids: tf.Tensor, codes: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns how many characters each piece has. What is unknown is as long as the run of unknown characters."""
        is_unknown = ~within(self._known, codes)
        begins = is_unknown & (segments.begins(rows) | ~tf.concat([is_unknown[:1], is_unknown[:-1]], axis=0))
        run = tf.cumsum(tf.cast(begins, tf.int32))
        lengths = tf.math.unsorted_segment_sum(tf.cast(is_unknown, tf.int32), run, tf.size(run) + 2)
        unknown = ids == self._unknown
        number = tf.minimum(tf.cumsum(tf.cast(unknown, tf.int32)), tf.size(run) + 1)
        return tf.where(unknown, tf.gather(lengths, number), tf.gather(self._sizes, ids))

    def _end(self, places: tf.Tensor, ends: tf.Tensor, last: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
        """Returns where the last characters before `ends` end, what became nothing left out."""
        start = tf.gather(places, tf.maximum(ends - 1, 0))
        # Several that became of one have its place: what follows begins behind all of them.
        differs = tf.concat([tf.ones_like(places[:1], tf.bool), places[1:] != places[:-1]], axis=0)
        group = tf.cumsum(tf.cast(differs, tf.int32)) - 1
        of_group = tf.boolean_mask(places, differs)
        next_group = tf.minimum(tf.gather(group, tf.maximum(ends - 1, 0)) + 1, tf.size(of_group) - 1)
        end = tf.minimum(tf.gather(of_group, next_group), tf.gather(places, last))
        solid = tf.cast(tf.where(~within(self._vanishing, given))[:, 0], tf.int32)
        before = tf.gather(tf.pad(solid, [[1, 0]], constant_values=-1), tf.searchsorted(solid, end))
        return tf.where(end > start, tf.maximum(before + 1, start + 1), end)

    def _words(self, ids: tf.Tensor, rows: tf.Tensor, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Returns the index of each piece's word; see `tfxlm.tokenizers.sentence_pieces.word_indices`."""
        after_space = tf.concat([tf.zeros_like(ids[:1], tf.bool), tf.gather(self._ends_word, ids[:-1])], axis=0)
        begins = segments.begins(rows) | after_space | (tf.gather(self._spaces, ids) > 0)
        words = tf.cumsum(tf.cast(begins, tf.int32))
        before = tf.gather(tf.pad(words, [[1, 0]]), pieces.row_starts())
        return words - 1 - tf.gather(before, rows)


def reason_against(model: SentencePieces) -> str | None:
    """Says why the places of a model's pieces cannot be found in a graph; None where they can."""
    if not model.is_plain:
        return "the SentencePiece model has pieces that are no plain text, such as bytes"
    known = set(model.names)
    names = [name for index, name in enumerate(model.names) if index in model.normal]
    if any(char not in known for name in names for char in name):
        return "the SentencePiece model has pieces whose characters are no pieces"
    return None


def _character_model(model: SentencePieces) -> tuple[bytes, np.ndarray]:
    """Returns a model that cuts into characters those that the normalisation makes, and the code point of each id."""
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2  # made while importing, so that no type checker knows them
    content = messages.ModelProto.FromString(model.model)
    made = messages.ModelProto()
    made.normalizer_spec.CopyFrom(content.normalizer_spec)
    made.trainer_spec.model_type = messages.TrainerSpec.CHAR
    made.pieces.add(piece="<unk>", type=messages.ModelProto.SentencePiece.UNKNOWN)
    found = sorted(_made_by(content.normalizer_spec.precompiled_charsmap) - {" ", SPACE})
    for character in (SPACE, *found):
        made.pieces.add(piece=character)
    return made.SerializeToString(), np.array([0, *map(ord, (SPACE, *found))], np.int32)


def _made_by(normalisation: bytes) -> set[str]:
    """Returns the characters that a normalisation can make: its size in bytes, a tree of rules, and what they make."""
    if not normalisation:
        return set()
    (size,) = struct.unpack_from("<I", normalisation)
    return set(normalisation[struct.calcsize("<I") + size :].decode().replace("\0", ""))


def _vanishing(model: SentencePieces) -> characters.Ranges:
    """Returns the characters that become nothing, or white space."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF and code != ord(_SEPARATOR)]
    made = model.normalised(_SEPARATOR.join(map(chr, codes))).split(_SEPARATOR)
    return characters.runs(code for code, text in zip(codes, made, strict=True) if not text.strip(SPACE))
