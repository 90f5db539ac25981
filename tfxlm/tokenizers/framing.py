"""Puts special tokens around texts, and says for each token what it belongs to."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tfxlm.errors import TokenizerError
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT, Template

_TEXTS = (FIRST_TEXT, SECOND_TEXT)
T = TypeVar("T")


class Framing:
    """A template filled with the ids of one tokenizer.

    Args:
        template: the order of texts and special tokens.
        role_ids: id by role; None where a role is not filled.

    Raises:
        TokenizerError: the template has a role that is not filled.
    """

    def __init__(self, template: Template, role_ids: Mapping[str, int | None]) -> None:
        self._template = template
        self._ids: dict[str, int] = {}
        for part, _ in (*template.single, *template.pair):
            index = role_ids.get(part)
            if index is not None:
                self._ids[part] = index
            elif part not in _TEXTS:
                raise TokenizerError(f"Inputs of this tokenizer need a {part}, but it is None. Name the token for it.")

    def size(self, pair: bool) -> int:
        """Returns the number of special tokens around a text or a pair."""
        return sum(part not in _TEXTS for part, _ in self._parts(pair))

    def layout(self, pair: bool) -> list[tuple[int | str, int]]:
        """Returns the parts of an input in order: ids of special tokens, `FIRST_TEXT` and `SECOND_TEXT`.

        Args:
            pair: whether there are two texts.

        Returns:
            Each part with its segment, 0 or 1.
        """
        return [(self._ids.get(part, part), segment) for part, segment in self._parts(pair)]

    def ids(self, first: Sequence[int], second: Sequence[int] | None, special: bool = True) -> list[int]:
        """Returns the ids of an input.

        Args:
            first: ids of the text.
            second: ids of the second text, or None.
            special: whether special tokens are put in.
        """
        return self._around(first, second, special, self._ids.__getitem__)

    def around(self, first: Sequence[T], second: Sequence[T] | None, fill: T, special: bool = True) -> list[T]:
        """Returns something for each token of an input.

        Args:
            first: what the tokens of the text have.
            second: what those of the second text have, or None.
            fill: what special tokens have.
            special: whether special tokens are put in.
        """
        return self._around(first, second, special, lambda part: fill)

    def segments(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns the segment of each token: 0 for the first text and what frames it, 1 for the second.

        Args:
            first: number of tokens of the text.
            second: number of tokens of the second text, or None.
            special: whether special tokens are put in.
        """
        counts = {FIRST_TEXT: first, SECOND_TEXT: second or 0}
        result: list[int] = []
        for part, segment in self._parts(second is not None):
            result += [segment] * counts.get(part, int(special))
        return result

    def positions(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns the position of each token in its segment, from 0; arguments as in `segments`."""
        segments = self.segments(first, second, special)
        starts = {segment: segments.index(segment) for segment in set(segments)}
        return [index - starts[segment] for index, segment in enumerate(segments)]

    def special_mask(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns 1 for each special token and 0 for each other one; arguments as in `segments`."""
        return self.around([0] * first, None if second is None else [0] * second, 1, special)

    def sequences(self, first: int, second: int | None, special: bool = True) -> list[int | None]:
        """Returns for each token which text it is of, 0 or 1; None for special tokens. Arguments as in `segments`."""
        return self.around([0] * first, None if second is None else [1] * second, None, special)

    def _around(
        self, first: Sequence[T], second: Sequence[T] | None, special: bool, of_token: Callable[[str], T]
    ) -> list[T]:
        texts: dict[str, Sequence[T]] = {FIRST_TEXT: first, SECOND_TEXT: second or ()}
        result: list[T] = []
        for part, _ in self._parts(second is not None):
            if part in _TEXTS:
                result += texts[part]
            elif special:
                result.append(of_token(part))
        return result

    def _parts(self, pair: bool) -> tuple[tuple[str, int], ...]:
        return self._template.pair if pair else self._template.single
