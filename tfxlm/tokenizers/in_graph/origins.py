"""Where the characters of words come from in the given text, as operations: `AlignedText` for all texts at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxlm.tokenizers.in_graph import segments
from tfxlm.tokenizers.in_graph.chains import Replace, chain, replacements
from tfxlm.tokenizers.in_graph.codes import characters_of
from tfxlm.tokenizers.in_graph.expressions import Change, holds, literal, when, where
from tfxlm.tokenizers.in_graph.letters import CodePointMap, GraphLetterCase
from tfxlm.tokenizers.rules import moses
from tfxlm.tokenizers.rules.chains import Literal, Pattern, Rule


class Spans(NamedTuple):
    """Which characters of all given texts, one behind the other, each character of the words stands for.

    Args:
        starts: int32 (characters,).
        ends: int32 (characters,).
    """

    starts: tf.Tensor
    ends: tf.Tensor


class _Text(NamedTuple):
    """Texts as they are at a step: code points, their rows, and which are no white space."""

    codes: tf.Tensor
    rows: tf.Tensor
    visible: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Step:
    """Replacements after which as many characters are visible as before, and then one that changes how many there are.

    Args:
        before: the replacements that come first.
        replace: the one replacement.
        spans: from texts before and after it, the spans of visible characters, which texts have changed, and the code
            points of all given texts, to spans afterwards.
        pattern: finds the texts in which it may change something.
    """

    before: Change
    replace: Replace
    spans: Callable[[tf.Tensor, tf.Tensor, Spans, tf.Tensor, tf.Tensor], Spans]
    pattern: str

    def __call__(self, texts: tf.Tensor, spans: Spans, normal: tf.Tensor, given: tf.Tensor) -> tuple[tf.Tensor, Spans]:
        """Returns texts and spans afterwards.

        Args:
            texts: string (rows,).
            spans: of their visible characters.
            normal: boolean (rows,): which texts it is for.
            given: int32 (characters,): code points of all given texts.
        """
        texts = where(normal, self.before, texts)
        found = normal & holds(texts, self.pattern)

        def changed() -> tuple[tf.Tensor, Spans]:
            after = where(found, self.replace, texts)
            return after, self.spans(texts, after, spans, found, given)

        return when(tf.reduce_any(found), changed, lambda: (texts, spans))


class GraphOrigins:
    """Says for each character of the words of texts where it comes from, as `Words.aligned` does.

    White space comes and goes in most rules, and other characters become others one for one, so that the n-th of them
    stays the n-th. What is left are letters that become several, runs that become one or one that becomes several, and
    white space between digits that becomes a point.

    Args:
        lower: what changes letters before all else, or None.
        letters: what changes letters after all else.
        normal: boolean (languages,): which languages have their punctuation changed.
    """

    def __init__(self, lower: CodePointMap | None, letters: GraphLetterCase, normal: np.ndarray) -> None:
        self._lower, self._letters = lower, letters
        self._normal = normal
        self._steps, self._last = _steps(moses.normalization(""))

    def __call__(self, texts: tf.Tensor, languages: tf.Tensor) -> tuple[Spans, tf.Tensor]:
        """Returns the spans of all characters of words, and how many there are in each row, int64 (rows,).

        Args:
            texts: string (rows,), valid UTF-8, as they were given.
            languages: int32 (rows,), indices of languages.
        """
        given = tf.strings.unicode_decode(texts, "UTF-8")
        counts = tf.where(characters_of("space", given.flat_values), tf.constant(0, tf.int64), 1)
        if self._lower:
            counts *= self._lower.sizes(given.flat_values)
            texts = self._lower(texts)
        starts = tf.repeat(tf.range(tf.size(given.flat_values)), counts)
        spans = Spans(starts, starts + 1)
        normal = tf.gather(self._normal, languages)
        for step in self._steps:
            texts, spans = step(texts, spans, normal, given.flat_values)
        texts = where(normal, self._last, texts)
        return self._of_letters(_text(texts), spans, normal)

    def _of_letters(self, text: _Text, spans: Spans, normal: tf.Tensor) -> tuple[Spans, tf.Tensor]:
        """Carries spans on to letters that become others; marks that are taken off stay with the letter before."""
        codes, rows = (tf.boolean_mask(value, text.visible) for value in (text.codes, text.rows))
        printing = ~(characters_of("other", codes) & tf.gather(normal, rows))
        codes, rows, starts, ends = (tf.boolean_mask(value, printing) for value in (codes, rows, *spans))
        sizes = self._letters.sizes(codes)
        is_mark = sizes == 0
        # A mark stays where nothing stands between it and what it follows.
        loose = is_mark & (segments.begins(rows) | (starts != tf.concat([starts[:1], ends[:-1]], axis=0)))
        letter = tf.cumsum(tf.cast(~is_mark, tf.int32))  # marks before any letter have that of none, 0
        breaks = tf.cumsum(tf.cast(loose, tf.int32))
        breaks -= tf.gather(tf.math.segment_min(tf.pad(breaks, [[1, 0]]), tf.pad(letter, [[1, 0]])), letter)
        furthest = tf.math.segment_max(tf.pad(tf.where(breaks == 0, ends, 0), [[1, 0]]), tf.pad(letter, [[1, 0]]))
        is_last = tf.boolean_mask(tf.cumsum(sizes) - 1, ~is_mark)  # of several that a letter becomes
        starts, ends = tf.repeat(starts, sizes), tf.repeat(ends, sizes)
        ends = tf.tensor_scatter_nd_update(ends, is_last[:, None], furthest[1:])
        counts = tf.math.unsorted_segment_sum(sizes, rows, tf.size(normal, tf.int64))
        return Spans(starts, ends), counts


def _text(texts: tf.Tensor) -> _Text:
    codes = tf.strings.unicode_decode(texts, "UTF-8")
    return _Text(codes.flat_values, codes.value_rowids(), ~characters_of("space", codes.flat_values))


def _steps(rules: Sequence[Rule]) -> tuple[list[_Step], Change]:
    """Returns rules as steps, and what follows the last of them."""
    steps: list[_Step] = []
    before: list[Replace] = []
    for rule, replace in zip(rules, replacements(rules), strict=True):
        found = next(_kinds(rule), None)
        if found is None:
            before.append(replace)
        else:
            spans, pattern = found
            steps.append(_Step(chain(before), replace, spans, pattern))
            before = []
    return steps, chain(before)


def _kinds(rule: Rule) -> Iterator[tuple[Callable[..., Spans], str]]:
    """Yields, for a rule after which not as many characters are visible as before, what it does to spans."""
    match rule:
        case Literal(old, new) if len("".join(old.split())) != len("".join(new.split())):
            size, becomes = len(old), len("".join(new.split()))

            def of_run(before: tf.Tensor, after: tf.Tensor, spans: Spans, rows: tf.Tensor, given: tf.Tensor) -> Spans:
                return _runs(_text(before), spans, rows, ord(old[0]), size, becomes)

            yield of_run, literal(old)
        case Pattern(_, new, needs) if needs and needs.isspace() and not new.isspace():

            def of_space(before: tf.Tensor, after: tf.Tensor, spans: Spans, rows: tf.Tensor, given: tf.Tensor) -> Spans:
                return _spaces(_text(before), _text(after), spans, given, ord(needs))

            yield of_space, literal(needs)


def _runs(text: _Text, spans: Spans, rows: tf.Tensor, code: int, size: int, becomes: int) -> Spans:
    """A character that stands `size` times in a row becomes others, which stand for all of these."""
    is_one = (text.codes == code) & tf.gather(rows, text.rows)
    begins = is_one & (segments.begins(text.rows) | ~tf.concat([is_one[:1], is_one[:-1]], axis=0))
    run = tf.cumsum(tf.cast(begins, tf.int32))  # what stands before all runs has 0
    place = tf.range(tf.size(run)) - tf.gather(tf.pad(tf.cast(tf.where(begins)[:, 0], tf.int32), [[1, 0]]), run)
    length = tf.math.unsorted_segment_sum(tf.cast(is_one, tf.int32), run, tf.reduce_max(tf.pad(run, [[0, 1]])) + 1)
    inside = is_one & (place - place % size + size <= tf.gather(length, run))
    counts = tf.where(inside, tf.where(place % size == 0, becomes, 0), 1)
    inside, counts = (tf.boolean_mask(value, text.visible) for value in (inside, counts))
    last = tf.minimum(tf.range(tf.size(counts)) + tf.where(inside, size - 1, 0), tf.size(counts) - 1)
    return Spans(tf.repeat(spans.starts, counts), tf.repeat(tf.gather(spans.ends, last), counts))


def _spaces(before: _Text, after: _Text, spans: Spans, given: tf.Tensor, code: int) -> Spans:
    """White space becomes a visible character, one for one: it stands for the next such white space of the text."""
    # The visible character before each, and for one that was none also how many came before it.
    number = tf.cumsum(tf.cast(before.visible, tf.int32)) - 1
    taken = tf.boolean_mask(number, after.visible)
    is_new = tf.boolean_mask(~before.visible, after.visible)
    places = tf.cast(tf.where(given == code)[:, 0], tf.int32)
    starts, ends = (tf.gather(value, tf.maximum(taken, 0)) for value in spans)
    found = tf.gather(places, tf.minimum(tf.searchsorted(places, ends), tf.size(places) - 1))
    return Spans(tf.where(is_new, found, starts), tf.where(is_new, found + 1, ends))
