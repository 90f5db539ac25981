"""Puts special tokens around texts, and says for each token what it belongs to."""

from collections.abc import Callable, Mapping, Sequence

from tfxlm.errors import TokenizerError
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT, Template

_TEXTS = (FIRST_TEXT, SECOND_TEXT)


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

    def ids(self, first: Sequence[int], second: Sequence[int] | None, special: bool = True) -> list[int]:
        """Returns the ids of an input.

        Args:
            first: ids of the text.
            second: ids of the second text, or None.
            special: whether special tokens are put in.
        """
        texts = {FIRST_TEXT: first, SECOND_TEXT: second or ()}
        result: list[int] = []
        for part, _ in self._parts(second is not None):
            if part in _TEXTS:
                result += texts[part]
            elif special:
                result.append(self._ids[part])
        return result

    def segments(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns the segment of each token: 0 for the first text and what frames it, 1 for the second.

        Args:
            first: number of tokens of the text.
            second: number of tokens of the second text, or None.
            special: whether special tokens are put in.
        """
        return self._spread(first, second, special, lambda part, segment: segment)

    def positions(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns the position of each token in its segment, from 0; arguments as in `segments`."""
        segments = self.segments(first, second, special)
        starts = {segment: segments.index(segment) for segment in set(segments)}
        return [index - starts[segment] for index, segment in enumerate(segments)]

    def special_mask(self, first: int, second: int | None, special: bool = True) -> list[int]:
        """Returns 1 for each special token and 0 for each other one; arguments as in `segments`."""
        return self._spread(first, second, special, lambda part, segment: int(part not in _TEXTS))

    def _spread(self, first: int, second: int | None, special: bool, value: Callable[[str, int], int]) -> list[int]:
        counts = {FIRST_TEXT: first, SECOND_TEXT: second or 0}
        result: list[int] = []
        for part, segment in self._parts(second is not None):
            result += [value(part, segment)] * counts.get(part, int(special))
        return result

    def _parts(self, pair: bool) -> tuple[tuple[str, int], ...]:
        return self._template.pair if pair else self._template.single
