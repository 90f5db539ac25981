"""Letter case and accents as operations: maps of code points that Python's own data fills."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.in_graph import expressions
from tfxlm.tokenizers.in_graph.expressions import within_brackets
from tfxlm.tokenizers.letter_case import LetterCase, lower_each
from tfxlm.tokenizers.rules import characters

# All but halves of surrogate pairs, which are no UTF-8, and the line break, which no map changes.
_CODES = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF and chr(code) != "\n"]
_SIGMA, _SMALL_SIGMA, _FINAL_SIGMA = "Σ", "σ", "ς"
# In a map: what becomes nothing, and the first of those numbers that stand for several characters.
_NOTHING, _SEVERAL = -1, -2


class CodePointMap:
    """Replaces every character by others, each for itself.

    Args:
        become: says what a character becomes.
    """

    def __init__(self, become: Callable[[str], str]) -> None:
        # All at once, which is much faster: no character changes another one across a line break.
        afterwards = become("\n".join(map(chr, _CODES))).split("\n")
        changed = {code: text for code, text in zip(_CODES, afterwards, strict=True) if text != chr(code)}
        several = list(dict.fromkeys(text for text in changed.values() if len(text) > 1))
        numbers = {text: _SEVERAL - index for index, text in enumerate(several)}
        self._size = max(changed, default=-1) + 1
        table = np.arange(self._size, dtype=np.int32)
        for code, text in changed.items():
            table[code] = numbers[text] if len(text) > 1 else ord(text) if text else _NOTHING
        self._table = table
        # Those that become several characters, one after the other.
        self._sizes = np.array(list(map(len, several)), np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._several = np.array(list(map(ord, "".join(several))), np.int32)
        # ASCII has its own way, so that most texts need no map.
        self._lowers = become("A") == "a"
        beyond = characters.runs(sorted(code for code in changed if code > 127))
        self._changing = f"[{within_brackets(beyond)}]" if beyond else None

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Returns the texts with their characters replaced.

        Args:
            texts: string (rows,), valid UTF-8.
        """
        if self._lowers:
            texts = tf.strings.lower(texts)
        if self._changing is None:
            return texts
        return expressions.where(expressions.holds(texts, self._changing), self._mapped, texts)

    def sizes(self, codes: tf.Tensor) -> tf.Tensor:
        """Says how many characters each becomes: int64 (characters,).

        Args:
            codes: int32 (characters,), code points.
        """
        return self._counts(self._numbers(codes))

    def _numbers(self, codes: tf.Tensor) -> tf.Tensor:
        known = codes < self._size
        # Where no character changes, the table has one entry all the same, to be gathered from.
        return tf.where(known, tf.gather(np.append(self._table, np.int32(0)), tf.where(known, codes, 0)), codes)

    def _counts(self, numbers: tf.Tensor) -> tf.Tensor:
        sizes = np.insert(self._sizes, 0, 0)
        return tf.where(numbers >= 0, tf.constant(1, tf.int64), tf.gather(sizes, tf.maximum(_NOTHING - numbers, 0)))

    def _mapped(self, texts: tf.Tensor) -> tf.Tensor:
        codes = tf.strings.unicode_decode(texts, "UTF-8")
        mapped = self._numbers(codes.flat_values)
        counts = self._counts(mapped)
        if len(self._several):
            origins = tf.repeat(tf.range(tf.size(mapped)), counts)
            number = tf.gather(mapped, origins)
            inside = tf.range(tf.size(origins, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), origins)
            starts = tf.gather(self._starts, tf.maximum(_SEVERAL - number, 0))
            others = tf.gather(self._several, tf.where(number < 0, starts + inside, 0))
            becomes = tf.where(number < 0, others, number)
        else:
            becomes = tf.boolean_mask(mapped, mapped >= 0)
        lengths = tf.math.unsorted_segment_sum(counts, codes.value_rowids(), codes.nrows())
        return tf.strings.unicode_encode(tf.RaggedTensor.from_row_lengths(becomes, lengths, validate=False), "UTF-8")


def lower_first() -> CodePointMap:
    """Returns the lower-casing that comes before all else in ``preprocessing="hf"``."""
    return _cached_map(lower_each)


class GraphLetterCase:
    """Brings the letters of words to the form a vocabulary was made with; see `LetterCase`.

    Args:
        case: ``"none"``, ``"ascii"`` or ``"unicode"``.
        accents: ``"keep"`` or ``"strip"``.
    """

    def __init__(self, case: str, accents: str) -> None:
        self._map = _cached_map(_cached_case(case, accents))
        self._ends_matter = case == "unicode"

    def sizes(self, codes: tf.Tensor) -> tf.Tensor:
        """Says how many characters each becomes; see `CodePointMap.sizes`."""
        return self._map.sizes(codes)

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        """Returns the words with their letters changed.

        Args:
            words: string (words,), valid UTF-8 without white space.
        """
        if self._ends_matter:
            words = expressions.where(expressions.holds(words, _SIGMA), _final_sigmas, words)
        return self._map(words)


@functools.cache
def _cached_map(become: Callable[[str], str]) -> CodePointMap:
    return CodePointMap(become)


@functools.cache
def _cached_case(case: str, accents: str) -> LetterCase:
    return LetterCase(case, accents)


def _final_sigmas(words: tf.Tensor) -> tf.Tensor:
    """Lower-cases capital sigmas as `str.lower` does: in another form at the end of a word, punctuation aside."""
    cased, ignorable = _sigma_context()
    before_a_letter = f"{_SIGMA}([{ignorable}]*[{cased}])"
    # Twice: a sigma that ends one match can begin another.
    for _ in range(2):
        words = tf.strings.regex_replace(words, before_a_letter, rf"{_SMALL_SIGMA}\1")
    return tf.strings.regex_replace(words, f"([{cased}][{ignorable}]*){_SIGMA}", rf"\1{_FINAL_SIGMA}")


@functools.cache
def _sigma_context() -> tuple[str, str]:
    """Returns, to stand between brackets, the letters with case, and the characters that are looked over for them."""
    cased = [code for code in _CODES if (chr(code) + _SIGMA).lower().endswith(_FINAL_SIGMA)]
    known = set(cased)
    ignorable = [
        code for code in _CODES if code not in known and ("A" + chr(code) + _SIGMA).lower().endswith(_FINAL_SIGMA)
    ]
    return within_brackets(characters.runs(cased)), within_brackets(characters.runs(ignorable))
