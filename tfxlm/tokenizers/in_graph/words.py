"""Moses' word rules as operations: texts of any languages become words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.in_graph import segments
from tfxlm.tokenizers.in_graph.chains import ChainByLanguage, Replace, chain, replacements
from tfxlm.tokenizers.in_graph.expressions import expression, holds, when, where
from tfxlm.tokenizers.rules import characters, moses
from tfxlm.tokenizers.rules.chains import Squeeze
from tfxlm.tokenizers.rules.prefixes import prefixes
from tfxlm.tokenizers.segmenters import SEGMENTERS

_PERIOD_AND_APOSTROPHE = r"(?s:.*)\.'"
_LOWER_FIRST = expression("[{lower}](?s:.*)")
_NUMBER_FIRST = "[0-9](?s:.*)"
# What follows an abbreviation for its full stop to stay: anything, or a number.
_ALWAYS, _BEFORE_NUMBERS = 1, 2


class GraphMosesWords(tf.Module):
    """Cuts texts into words as `MosesWords` does, each by the rules of its language.

    Args:
        languages: language codes; texts name theirs by its index here. Chinese, Japanese and Thai texts come with
            spaces between their words, see `XLMTokenizer.cut_words`.
        non_printing: what a non-printing character becomes, ``""`` or ``" "``.
        only_spaces: whether Japanese and Thai words are parted by spaces alone, and other white space is in them.
    """

    def __init__(self, languages: Sequence[str], non_printing: str, only_spaces: bool) -> None:
        super().__init__()
        classes = [characters.LANGUAGE_CLASSES.get(language, {}) for language in languages]
        steps = [_steps(language, non_printing) for language in languages]
        # Which languages have their punctuation changed. Japanese and Thai texts come from the rules, which are not
        # asked again.
        self.are_normal = np.array([bool(own) for own in steps])
        self._part = None if only_spaces else chain(replacements([Squeeze()]))
        common = next((own for own in steps if own), [])
        steps = [own or common for own in steps]
        # Words that another program has cut are left as they are.
        self._ready = np.array([language in SEGMENTERS for language in languages])
        self._separate = ChainByLanguage(steps)
        letters = [expression(r"[{alpha}]", own) for own in classes]
        self._letters = list(dict.fromkeys(letters))
        self._letters_of = np.array([self._letters.index(own) for own in letters], np.int32)
        lists = [prefixes(language) for language in languages]
        distinct = list(dict.fromkeys(lists))
        self._list_of = np.array([distinct.index(own) for own in lists], np.int32)
        entries = {f"{index}\t{prefix}": _ALWAYS for index, own in enumerate(distinct) for prefix in own.always}
        entries |= {
            f"{index}\t{prefix}": _BEFORE_NUMBERS for index, own in enumerate(distinct) for prefix in own.before_numbers
        }
        self._prefixes = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(list(entries), list(entries.values()), tf.string, tf.int32), 0
        )

    def __call__(self, texts: tf.Tensor, languages: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the words, string (words,), and the row of each, int64 (words,).

        Args:
            texts: string (rows,), valid UTF-8.
            languages: int32 (rows,), indices of languages.
        """
        split = tf.strings.split(self._prepared(texts, languages))
        flat, rows = split.flat_values, split.value_rowids()
        is_last = segments.ends(rows)
        by_rules = ~tf.gather(tf.gather(self._ready, languages), rows)
        # Bytes, as regular expressions would take most of the time here.
        end = tf.strings.substr(flat, -1, 1)
        has_period = by_rules & (end == ".") & (tf.strings.length(flat) > 1)
        has_apostrophe = by_rules & is_last & (end == "'")

        def separated() -> tuple[tf.Tensor, tf.Tensor]:
            after_period = has_apostrophe & tf.strings.regex_full_match(flat, _PERIOD_AND_APOSTROPHE)
            following = tf.where(is_last, "", tf.concat([flat[1:], flat[:1]], axis=0))
            own = tf.gather(languages, rows)
            comes_off = has_period & ~self._keeps_period(has_period, flat, following, own)
            counts = 1 + tf.cast(comes_off, tf.int64) + 2 * tf.cast(after_period, tf.int64)
            starts = tf.cumsum(counts, exclusive=True)
            cut = tf.where(comes_off, _without_end(flat, 1), tf.where(after_period, _without_end(flat, 2), flat))
            found = tf.repeat(cut, counts)
            for mask, place, mark in ((comes_off, 1, "."), (after_period, 1, "."), (after_period, 2, "'")):
                at = tf.boolean_mask(starts, mask) + place
                found = tf.tensor_scatter_nd_update(found, at[:, None], tf.fill(tf.shape(at), mark))
            return found, tf.repeat(rows, counts)

        # A full stop and an apostrophe that had nothing before them leave an empty word, which has no pieces.
        return when(tf.reduce_any(has_period | has_apostrophe), separated, lambda: (flat, rows))

    def _prepared(self, texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
        """Returns texts with white space between words, up to the decision about full stops."""
        if self.are_normal.all():
            return self._separate(texts, languages)
        normal = tf.gather(self.are_normal, languages)
        texts = where(normal, self._separate, texts, languages)
        return texts if self._part is None else where(~normal, self._part, texts)

    def _keeps_period(self, mask: tf.Tensor, words: tf.Tensor, following: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
        """Says whether full stops belong to the words that they end; boolean (words,).

        Args:
            mask: boolean (words,): which words are asked about.
            words: string (words,).
            following: string (words,): what follows each word in its text.
            languages: int32 (words,).
        """
        places = tf.where(mask)
        prefix = _without_end(tf.gather_nd(words, places), 1)
        following, own = tf.gather_nd(following, places), tf.gather_nd(languages, places)
        has_letter = tf.zeros_like(prefix, tf.bool)
        for index, letters in enumerate(self._letters):
            has_letter |= holds(prefix, letters) & (tf.gather(self._letters_of, own) == index)
        lists = tf.strings.as_string(tf.gather(self._list_of, own))
        entry = self._prefixes.lookup(tf.strings.join([lists, prefix], "\t"))
        keeps = (
            (holds(prefix, r"\.") & has_letter)
            | (entry == _ALWAYS)
            | tf.strings.regex_full_match(following, _LOWER_FIRST)
            | ((entry == _BEFORE_NUMBERS) & tf.strings.regex_full_match(following, _NUMBER_FIRST))
        )
        return tf.scatter_nd(places, keeps, tf.shape(mask, tf.int64))


def _steps(language: str, non_printing: str) -> list[Replace]:
    """Returns what happens to a text up to the decision about full stops."""
    if language in SEGMENTERS and not SEGMENTERS[language].before_rules:
        return []
    steps = [*replacements(moses.normalization(language)), Replace(expression(moses.NON_PRINTING), non_printing)]
    if language in SEGMENTERS:
        return [*steps, *replacements([Squeeze()])]
    classes = characters.LANGUAGE_CLASSES.get(language, {})
    spelling = replacements(moses.LANGUAGE_SPELLING.get(language, ()))
    return [*steps, *spelling, *replacements(moses.separation(language), classes)]


def _without_end(words: tf.Tensor, size: int) -> tf.Tensor:
    """Returns words without their last bytes."""
    sizes = tf.maximum(tf.strings.length(words) - size, 0)
    return tf.strings.substr(words, tf.zeros_like(sizes), sizes)
