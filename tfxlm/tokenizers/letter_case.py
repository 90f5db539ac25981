"""Lower-casing and the removal of accents."""

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from tfxlm.tokenizers.alignment import Span
from tfxlm.tokenizers.rules import characters

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

LOWER_CASE: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"none": str, "ascii": lambda text: text.translate(_ASCII_LOWER), "unicode": str.lower}
)
ACCENTS = ("keep", "strip")


def lower_each(text: str) -> str:
    """Lower-cases every character for itself: a capital sigma becomes ``σ`` at the end of a word, too."""
    return text.replace("Σ", "σ").lower()


class LetterCase:
    """Brings letters to the form a vocabulary was made with.

    Args:
        case: ``"none"`` keeps capitals, ``"ascii"`` lower-cases A to Z only, ``"unicode"`` lower-cases everything.
        accents: ``"keep"``, or ``"strip"`` to decompose letters and drop their combining marks.
    """

    def __init__(self, case: str, accents: str) -> None:
        self._lower = LOWER_CASE[case]
        self._marks = re.compile(characters.expand("[{mark}]+")) if accents == "strip" else None
        self._sizes: dict[str, int] = {}
        self.keeps_all = case == "none" and self._marks is None

    def __call__(self, text: str) -> str:
        text = self._lower(text)
        if self._marks is None or text.isascii():
            return text
        text = self._marks.sub("", unicodedata.normalize("NFD", text))
        return self._lower(text)  # letters that only lost their accent now have a lower-case form

    def origins(self, text: str, spans: list[Span]) -> list[Span]:
        """Says where the characters come from that a text becomes.

        A letter can become several, which share its span; a mark that is taken off stays with the letter before it.

        Args:
            text: the text before, without white space.
            spans: where its characters come from.

        Returns:
            A span for each character of the text afterwards.
        """
        if text.isascii():
            return spans
        found: list[Span] = []
        for span, size in zip(spans, self.sizes(text), strict=True):
            if size:
                found += [span] * size
            elif found and found[-1][1] == span[0]:
                found[-1] = (found[-1][0], span[1])
        return found

    def sizes(self, text: str) -> Iterable[int]:
        """Yields for each character how many become of it; unlike which ones, that depends on no other character."""
        for char in text:
            if char not in self._sizes:
                self._sizes[char] = len(self(char))
            yield self._sizes[char]
