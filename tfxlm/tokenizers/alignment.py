"""Texts that know where each of their characters comes from."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Start and end of a run of characters in the given text.
Span = tuple[int, int]
#: Start and end of what is replaced, and what stands there afterwards.
Change = tuple[int, int, str]

#: The places of single characters, of which every text has the first ones.
_PLACES: list[Span] = [(0, 1)]


@dataclass(frozen=True, slots=True)
class AlignedText:
    """A text, and for each character the span of the given text that it stands for.

    Starts and ends never go back from one character to the next. Characters that were put in have empty spans;
    several characters that came of one share its span.

    Args:
        text: the text as it is by now.
        spans: one span per character.

    Example:
        >>> AlignedText.given("a…").changed([(1, 2, "...")]).spans
        [(0, 1), (1, 2), (1, 2), (1, 2)]
    """

    text: str
    spans: list[Span]

    @classmethod
    def given(cls, text: str) -> "AlignedText":
        """Aligns a text with itself."""
        while len(_PLACES) < len(text):
            _PLACES.extend([(index, index + 1) for index in range(len(_PLACES), 2 * len(_PLACES))])
        return cls(text, _PLACES[: len(text)])

    def changed(self, changes: Iterable[Change]) -> "AlignedText":
        """Replaces parts of the text.

        Args:
            changes: the replacements from left to right.
        """
        texts: list[str] = []
        spans: list[Span] = []
        position = 0
        for start, end, new in changes:
            texts += (self.text[position:start], new)
            spans += self.spans[position:start]
            spans += [
                covered(self.spans, start + first, start + last) for first, last in _replaced(self.text[start:end], new)
            ]
            position = end
        texts.append(self.text[position:])
        spans += self.spans[position:]
        return AlignedText("".join(texts), spans)

    def stripped(self) -> "AlignedText":
        """Returns the text without white space at its ends."""
        start = len(self.text) - len(self.text.lstrip())
        text = self.text.strip()
        return AlignedText(text, self.spans[start : start + len(text)])

    def spaced(self, words: Sequence[str]) -> "AlignedText":
        """Returns the text after it was cut into words, which are joined with spaces.

        Args:
            words: the words, with every character of the text.
        """
        spans: list[Span] = []
        position = 0
        for index, word in enumerate(words):
            if index:
                spans.append(covered(self.spans, position, position))
            spans += self.spans[position : position + len(word)]
            position += len(word)
        return AlignedText(" ".join(words), spans)

    def resized(self, text: str, sizes: Sequence[int]) -> "AlignedText":
        """Returns the text after each character became others.

        Args:
            text: what became of the text.
            sizes: for each character of this text, how many became of it.
        """
        return AlignedText(text, [span for span, size in zip(self.spans, sizes, strict=True) for _ in range(size)])

    def visible(self) -> tuple[str, list[Span]]:
        """Returns the characters that are no white space, and their spans."""
        if len(words := "".join(self.text.split())) == len(self.text):
            return words, self.spans
        return words, [span for char, span in zip(self.text, self.spans, strict=True) if not char.isspace()]


def _sources(old: str, new: str) -> tuple[Span, ...]:
    """Says for each character of a replacement which characters it stands for.

    Replacements of one length are taken character by character, also where two changed places: a span never goes
    back. Where characters were only put in or only left out, the others stay with themselves. In every other
    replacement each new character stands for all the old ones, white space around them left out.
    """
    if len(old) == len(new):
        return tuple((index, index + 1) for index in range(len(old)))
    if len(old) < len(new):
        spans: list[Span] = []
        position = 0
        for char in new:
            kept = position < len(old) and char == old[position]
            spans.append((position, position + kept))
            position += kept
        if position == len(old):
            return tuple(spans)
    else:
        places: list[int] = []
        for char in new:
            places.append(old.find(char, places[-1] + 1 if places else 0))
            if places[-1] < 0:
                break
        else:
            return tuple((place, place + 1) for place in places)
    whole = len(old) - len(old.lstrip()), len(old.rstrip())
    return ((whole if whole[0] < whole[1] else (0, len(old))),) * len(new)


#: Rules replace the same few characters over and over.
_replaced = functools.lru_cache(maxsize=1 << 14)(_sources)


def covered(spans: Sequence[Span], start: int, end: int) -> Span:
    """Returns the span of the characters from `start` to `end`; where there are none, an empty one at their place."""
    if start < end:
        return spans[start][0], spans[end - 1][1]
    place = spans[start][0] if start < len(spans) else spans[-1][1] if spans else 0
    return place, place
