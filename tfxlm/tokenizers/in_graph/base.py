"""What the graph tokenizers of all families share: languages, truncation, frames and padding around pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.in_graph import utf8
from tfxlm.tokenizers.in_graph.frames import Window, framed, kept
from tfxlm.tokenizers.in_graph.languages import GraphLanguages
from tfxlm.tokenizers.lengths import DO_NOT_TRUNCATE, LONGEST_FIRST, Lengths, choose
from tfxlm.tokenizers.rules.templates import FIRST_TEXT

# How byte pairs are merged: with core operations, or by a SentencePiece model.
CORE, PIECES = "core", "sentencepiece"


class Inputs(NamedTuple):
    """What a model is given.

    Args:
        input_ids: int32 (batch, length).
        lengths: int32 (batch,): real tokens of each row, which stand first.
        langs: int32 (batch, length), or None for a tokenizer without languages.
    """

    input_ids: tf.Tensor
    lengths: tf.Tensor
    langs: tf.Tensor | None


class Located(NamedTuple):
    """The pieces of texts, and where they stand: what `offset_mapping` and `word_ids` of an encoding say.

    Args:
        pieces: int32 (batch, None): ids, without special tokens around them.
        words: int32 (batch, None): the index of each piece's word.
        starts: int32 (batch, None): its first character in the text, in code points.
        ends: int32 (batch, None): the character behind its last one.
    """

    pieces: tf.RaggedTensor
    words: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class GraphTokenizer(tf.Module):
    """A tokenizer as TensorFlow operations, for use inside a `tf.function` or an exported model.

    It gives the ids that `tokenizer(texts, split_special_tokens=True, padding=True)` gives: what looks like a special
    or an added token inside a text is text. Bytes that are no UTF-8 become U+FFFD.

    Args:
        tokenizer: the tokenizer.
        lang: language code of all texts; None to be told with each.
        max_length: most tokens of a row, special tokens included; None for what the tokenizer knows of the model.
        truncation: ``"longest_first"``, ``"only_first"``, ``"only_second"`` or ``"do_not_truncate"``.
        length_buckets: the lengths that rows may be padded to, ascending; None for that of the longest row.
        byte_pairs: how words of XLM are cut into pieces: ``"core"``, with core operations alone, or
            ``"sentencepiece"``, with one of TensorFlow Text, where the merges can be written as its model.

    Raises:
        InputError: an option is wrong.
        LanguageError: a language is unknown.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        lang: str | None = None,
        max_length: int | None = None,
        truncation: str = LONGEST_FIRST,
        length_buckets: Sequence[int] | None = None,
        byte_pairs: str = CORE,
    ) -> None:
        super().__init__()
        self._byte_pairs = choose("byte_pairs", byte_pairs, dict.fromkeys((CORE, PIECES), byte_pairs))
        if tokenizer.padding_side != "right":
            raise InputError("Rows are padded on the right in a graph. Make the tokenizer with padding_side='right'.")
        if max_length is None and tokenizer.limits_length:
            max_length = tokenizer.model_max_length
        if max_length is None:
            truncation = DO_NOT_TRUNCATE
        self._lengths = Lengths.resolve(
            padding=True,
            truncation=truncation,
            max_length=max_length,
            multiple=None,
            padding_side="right",
            truncation_side=tokenizer.truncation_side,
            model_max_length=None,
        )
        self._buckets = _checked_buckets(length_buckets, None if truncation == DO_NOT_TRUNCATE else max_length)
        self.framing = tokenizer.framing
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self.languages = self._languages_of(tokenizer, lang)
        #: Why `located` cannot be asked; None where it can.
        self.without_places = self.reason_without_places(tokenizer)
        self._make(tokenizer)
        # One function, however often a graph calls it. Only its call is kept: saving traces functions among the
        # attributes once more.
        specs = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32))
        self._pieces_of = tf.function(self._piece_ids, input_signature=specs, autograph=False).__call__

    def _languages_of(self, tokenizer: Any, lang: str | None) -> GraphLanguages:
        raise NotImplementedError

    def _make(self, tokenizer: Any) -> None:
        """Makes what `_piece_ids` needs."""
        raise NotImplementedError

    def piece_ids(self, text: tf.Tensor, lang: tf.Tensor | None = None, are_words: bool = False) -> tf.RaggedTensor:
        """Returns the ids of texts, without special tokens around them.

        Args:
            text: string (batch,).
            lang: string (batch,): language codes; None where the tokenizer was made for one language or has none.
            are_words: whether each text is one word: Chinese, Japanese and Thai ones may then be of any length.

        Returns:
            int32 (batch, None).
        """
        text = utf8.valid(text)
        return self._pieces_of(text, self.languages.indices(text, lang, are_words))

    def _piece_ids(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.RaggedTensor:
        raise NotImplementedError

    @staticmethod
    def reason_without_places(tokenizer: Any) -> str | None:
        """Says why `located` of a tokenizer's graph cannot be asked; None where it can."""
        return None

    def located(self, text: tf.Tensor, lang: tf.Tensor | None = None) -> Located:
        """Returns the pieces of texts with their words and places; arguments as in `piece_ids`.

        Bytes that are no UTF-8 count as the U+FFFD that they become. Characters of Chinese, Japanese and Thai texts of
        XLM are those of the text with spaces between its words.

        Raises:
            InputError: where pieces have no places in a graph.
        """
        if self.without_places is not None:
            raise InputError(f"Pieces have no places in this graph: {self.without_places}.")
        text = utf8.valid(text)
        return self._located(text, self.languages.indices(text, lang))

    def _located(self, texts: tf.Tensor, languages: tf.Tensor) -> Located:
        raise NotImplementedError

    def __call__(
        self,
        text: tf.Tensor,
        text_pair: tf.Tensor | None = None,
        lang: tf.Tensor | None = None,
        lang_pair: tf.Tensor | None = None,
    ) -> Inputs:
        """Turns texts into model inputs.

        Args:
            text: string (batch,).
            text_pair: string (batch,): the second text of each row; None for none.
            lang: string (batch,): language codes of the texts, as in `piece_ids`.
            lang_pair: string (batch,): those of the second texts; None where they are the same.
        """
        first = self.piece_ids(text, lang)
        other = lang if lang_pair is None else lang_pair
        second = None if text_pair is None else self.piece_ids(text_pair, other)
        return self.frame(first, second, lang, other)

    def frame(
        self,
        first: tf.RaggedTensor,
        second: tf.RaggedTensor | None,
        lang: tf.Tensor | None,
        lang_pair: tf.Tensor | None,
    ) -> Inputs:
        """Cuts and frames pieces; arguments as in `__call__`, with the pieces of both texts."""
        texts = [first] if second is None else [first, second]
        sizes = [tf.cast(pieces.row_lengths(), tf.int32) for pieces in texts]
        cut = kept(self._lengths, sizes, self.framing.size(second is not None))
        windows = [
            Window(pieces, size - keep if self._lengths.truncation_side == "left" else tf.zeros_like(size), keep)
            for pieces, size, keep in zip(texts, sizes, cut, strict=True)
        ]
        return self.frame_windows(windows, lang, lang_pair)

    def frame_windows(self, windows: Sequence[Window], lang: tf.Tensor | None, lang_pair: tf.Tensor | None) -> Inputs:
        """Frames parts of texts; languages as in `__call__`.

        Args:
            windows: of the texts, and of the second texts where there are some.
        """
        ids, lengths, segments = framed(self.framing, windows, self._pad_id, self._padded_length)
        return Inputs(ids, lengths, self.languages.langs(segments, lang, lang_pair))

    @property
    def max_length(self) -> int | None:
        """The most tokens of a row, or None."""
        return None if self._lengths.truncation == DO_NOT_TRUNCATE else self._lengths.max_length

    @property
    def truncation_side(self) -> str:
        """Where texts are cut, ``"right"`` or ``"left"``."""
        return self._lengths.truncation_side

    def places(self, inputs: Inputs, places: tf.Tensor, pieces: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns where pieces of single texts stand in their rows; `are_kept` says which do at all.

        Args:
            inputs: what `frame` returned for the pieces.
            places: int32 (some,): places among the pieces of a text.
            pieces: int32 (batch, None).
            rows: int (some,): which text each of `places` is in.
        """
        before, _ = self.around_text
        if self._lengths.truncation_side == "right":
            return places + before
        cut = tf.cast(pieces.row_lengths(), tf.int32) + self.framing.size(pair=False) - inputs.lengths
        return places + before - tf.gather(cut, rows)

    def are_kept(self, inputs: Inputs, places: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Says which of the `places` of single texts are in their rows: boolean (some,)."""
        before, after = self.around_text
        return (places >= before) & (places < tf.gather(inputs.lengths - after, rows))

    @property
    def around_text(self) -> tuple[int, int]:
        """How many special tokens stand before and after a single text."""
        layout = [part for part, _ in self.framing.layout(pair=False)]
        before = layout.index(FIRST_TEXT)
        return before, len(layout) - 1 - before

    def _padded_length(self, longest: tf.Tensor) -> tf.Tensor:
        if not self._buckets:
            return longest
        buckets = tf.constant(self._buckets)
        index = tf.searchsorted(buckets, longest[None])[0]
        return tf.gather(buckets, tf.minimum(index, len(self._buckets) - 1))


def _checked_buckets(buckets: Sequence[int] | None, max_length: int | None) -> list[int]:
    if buckets is None:
        return []
    ascending = list(buckets) == sorted(set(buckets))
    if not buckets or not ascending or any(isinstance(one, bool) or not isinstance(one, int) for one in buckets):
        raise InputError(f"length_buckets={buckets!r} should be different lengths, ascending, such as (32, 64, 128).")
    if max_length is None or buckets[-1] < max_length:
        raise InputError(
            f"Rows have up to {max_length or 'any number of'} tokens, but the last of length_buckets is {buckets[-1]}. "
            f"Pass max_length={buckets[-1]}, or add a bucket."
        )
    return list(buckets)
