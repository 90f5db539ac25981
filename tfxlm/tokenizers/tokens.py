"""The tokens of a text."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tfxlm.tokenizers.alignment import Span


@dataclass(slots=True)
class Tokens:
    """Tokens of one text, in order.

    Args:
        ids: their ids.
        words: for each token the word of the text that it is a part of; empty where that was not asked for.
        offsets: for each token its place in the given text; empty where that was not asked for.
    """

    ids: list[int]
    words: list[int] = field(default_factory=list)
    offsets: list[Span] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, window: tuple[int, int]) -> "Tokens":
        """Returns the tokens from a start to an end."""
        start, end = window
        if start == 0 and end == len(self.ids):
            return self
        return Tokens(self.ids[start:end], self.words[start:end], self.offsets[start:end])

    def append(self, more: "Tokens") -> None:
        """Adds the tokens of what follows in the text."""
        first = self.words[-1] + 1 if self.words else 0
        self.ids += more.ids
        self.words += [first + word for word in more.words]
        self.offsets += more.offsets


def of_words(words: Iterable[Tokens]) -> Tokens:
    """Joins the tokens of single words, whose offsets stay those in the word."""
    joined = Tokens([])
    for index, word in enumerate(words):
        joined.ids += word.ids
        joined.words += [index] * len(word)
        joined.offsets += word.offsets
    return joined
