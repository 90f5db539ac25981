"""Cuts a text into words by Moses' rules."""

import re

from tfxlm.tokenizers.alignment import AlignedText
from tfxlm.tokenizers.rules import characters, moses
from tfxlm.tokenizers.rules.chains import Chain
from tfxlm.tokenizers.rules.prefixes import prefixes

_NUMBER = re.compile("[0-9]")


class MosesWords:
    """Normalises punctuation and sets words and punctuation apart, for one language.

    Args:
        language: language code; decides about quotation marks, apostrophes, digit groups and abbreviations.
        non_printing: what a non-printing character becomes: ``""`` joins its neighbours (as in `transformers`),
            ``" "`` separates them (as in Moses).

    Source: the Moses scripts named in `rules.moses`.
    """

    def __init__(self, language: str, non_printing: str) -> None:
        classes = characters.LANGUAGE_CLASSES.get(language, {})
        self._normalize = Chain(moses.normalization(language))
        self._non_printing = re.compile(characters.expand(moses.NON_PRINTING))
        self._non_printing_becomes = non_printing
        self._spelling = Chain(moses.LANGUAGE_SPELLING.get(language, ()))
        self._separate = Chain(moses.separation(language), classes)
        self._finish = Chain(moses.AFTER_PERIODS)
        self._prefixes = prefixes(language)
        self._lower = characters.members("lower")
        self._alpha = re.compile(characters.expand("[{alpha}]", classes))

    def __call__(self, text: str) -> str:
        """Returns the words of `text`, separated by white space."""
        return self.separate(self.normalize(text))

    def normalize(self, text: str) -> str:
        """Returns `text` with uniform punctuation and without non-printing characters."""
        text = self._normalize(text).strip()
        if not text.isprintable():
            text = self._non_printing.sub(self._non_printing_becomes, text)
        return text

    def normalize_aligned(self, text: AlignedText) -> AlignedText:
        """Does the same to a text that keeps track of its characters."""
        text = self._normalize.aligned(text).stripped()
        if not text.text.isprintable():
            found = self._non_printing.finditer(text.text)
            text = text.changed((match.start(), match.end(), self._non_printing_becomes) for match in found)
        return text

    def separate(self, text: str) -> str:
        """Returns normalised text with white space between its words.

        Its other characters stay what they are and where they are, but for the letters that a language spells
        otherwise, one for one.
        """
        text = self._separate(self._spelling(text))
        if "." in text:
            text = self._separate_periods(text)
        return self._finish(text)

    def _separate_periods(self, text: str) -> str:
        words = text.split()
        followers = [*words[1:], ""]
        for index, word in enumerate(words):
            if len(word) > 1 and word.endswith(".") and not self._keeps_period(word[:-1], followers[index]):
                words[index] = f"{word[:-1]} ."
        return " ".join(words)

    def _keeps_period(self, prefix: str, following: str) -> bool:
        return bool(
            ("." in prefix and self._alpha.search(prefix))
            or prefix in self._prefixes.always
            or following[:1] in self._lower
            or (prefix in self._prefixes.before_numbers and _NUMBER.match(following))
        )
