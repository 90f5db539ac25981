"""Finds the way between the tokens, words and characters of an encoding."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfxlm.errors import InputError

Columns = dict[str, list[Any]]


class TokenSpan(NamedTuple):
    """The tokens from `start` to `end`, `end` not included."""

    start: int
    end: int


class CharSpan(NamedTuple):
    """The characters from `start` to `end`, `end` not included."""

    start: int
    end: int


class Details:
    """What an encoding can say of its tokens beside their ids.

    Args:
        find_out: finds all of it: rows of ``"tokens"``, ``"sequence_ids"``, ``"word_ids"`` and ``"offset_mapping"``,
            each with one entry per token. It takes time, so it waits until something is asked for that is not known.
        known: those of the rows that are known already.
    """

    def __init__(self, find_out: Callable[[], Columns] | None, known: Mapping[str, list[Any]]) -> None:
        self._find_out = find_out
        self._known = dict(known)

    def row(self, name: str, index: int) -> list[Any]:
        """Returns a row of one of the names."""
        if name not in self._known:
            self._complete()
        return self._known[name][index]

    def _complete(self) -> None:
        if self._find_out is not None:
            self._known = self._find_out()
            self._find_out = None

    def __getstate__(self) -> dict[str, Any]:
        self._complete()  # copies travel without the tokenizer
        return self.__dict__


class Lookups:
    """Methods of encodings about single tokens, as the fast tokenizers of `transformers` have them.

    Where a method takes two numbers, the first names the row of the batch and may be left out in the first row.
    Characters are those of the given text; of the word, for texts that were given as words.
    """

    _details: Details | None = None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Returns the tokens of a row."""
        return self._row("tokens", batch_index)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Returns for each token which text it is of: 0, 1 for the second of a pair, None for special tokens."""
        return self._row("sequence_ids", batch_index)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Returns for each token the index of its word in its text; None for special tokens.

        The words are those that were given, or else those that the tokenizer cuts the text into.
        """
        return self._row("word_ids", batch_index)

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Returns the text that a token is of, or None."""
        row, token = _place(batch_or_token_index, token_index)
        return self.sequence_ids(row)[token]

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Returns the word that a token is a part of, or None."""
        row, token = _place(batch_or_token_index, token_index)
        return self.word_ids(row)[token]

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """Returns the characters that a token stands for; None for special tokens."""
        row, token = _place(batch_or_token_index, token_index)
        if self.sequence_ids(row)[token] is None:
            return None
        return CharSpan(*self._row("offset_mapping", row)[token])

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Returns the first token that stands for a character; None if none does.

        Args:
            batch_or_char_index: the row, or the character.
            char_index: the character, where the row is given.
            sequence_index: the text of the pair, 0 or 1.
        """
        row, char = _place(batch_or_char_index, char_index)
        for token, (sequence, (start, end)) in enumerate(
            zip(self.sequence_ids(row), self._row("offset_mapping", row), strict=True)
        ):
            if sequence == sequence_index and start <= char < end:
                return token
        return None

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Returns the word that a character is in, or None; arguments as in `char_to_token`."""
        row, char = _place(batch_or_char_index, char_index)
        token = self.char_to_token(row, char, sequence_index)
        return None if token is None else self.word_ids(row)[token]

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Returns the tokens of a word; None if it has none in this row.

        Args:
            batch_or_word_index: the row, or the word.
            word_index: the word, where the row is given.
            sequence_index: the text of the pair, 0 or 1.
        """
        row, word = _place(batch_or_word_index, word_index)
        places = [
            token
            for token, found in enumerate(zip(self.sequence_ids(row), self.word_ids(row), strict=True))
            if found == (sequence_index, word)
        ]
        return TokenSpan(places[0], places[-1] + 1) if places else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Returns the characters of a word; None if it has no tokens. Arguments as in `word_to_tokens`."""
        row, word = _place(batch_or_word_index, word_index)
        span = self.word_to_tokens(row, word, sequence_index)
        if span is None:
            return None
        offsets = self._row("offset_mapping", row)[slice(*span)]
        return CharSpan(offsets[0][0], offsets[-1][1])

    def _row(self, name: str, index: int) -> list[Any]:
        if self._details is None:
            raise InputError(
                "Only encodings as a tokenizer returns them can say which words and characters their tokens are; "
                "this one was put together otherwise. Keep the encoding of the call, and ask that one."
            )
        return self._details.row(name, index)


def _place(first: int, second: int | None) -> tuple[int, int]:
    return (0, first) if second is None else (first, second)
