"""How long generated texts get."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from tfxlm.backend import check_range
from tfxlm.errors import InputError
from tfxlm.generation import checked_option

# New tokens where nothing says how many, as in `transformers`.
DEFAULT_NEW_TOKENS = 20


# The least value of each option.
_LEAST = {"max_new_tokens": 1, "max_length": 1, "min_new_tokens": 0, "min_length": 0}


@dataclasses.dataclass(frozen=True)
class TextLengths:
    """How long texts get. Padding does not count.

    Args:
        longest: the most tokens of a text that the model reads.
        max_new_tokens: the most new tokens; or None.
        max_length: the most tokens of a text, its prompt included; or None.
        min_new_tokens, min_length: the fewest, likewise; or None.

    Raises:
        InputError: one is wrong, or contradicts another.
    """

    longest: int
    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int | None = None

    def __post_init__(self) -> None:
        for field, least in _LEAST.items():
            value = getattr(self, field)
            if value is not None:
                checked_option(field, value, least)
        for of_new, of_all in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            if getattr(self, of_new) is not None and getattr(self, of_all) is not None:
                raise InputError(f"{of_new} counts new tokens and {of_all} those of the prompt, too. Give one of them.")
        if self.max_length is not None and self.max_length > self.longest:
            raise InputError(
                f"max_length={self.max_length} is more than the {self.longest} tokens that the model reads. Give less."
            )
        for low, high in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
            fewest, most = getattr(self, low), getattr(self, high)
            if fewest is not None and most is not None and fewest > most:
                raise InputError(f"{low}={fewest} is more than {high}={most}. Give less.")

    @property
    def most(self) -> int:
        """The most new tokens of any text."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return DEFAULT_NEW_TOKENS if self.max_length is None else max(1, self.max_length - 1)

    def limits(self, counts: Any) -> tuple[Any, Any]:
        """Returns the most and the fewest new tokens of each text, int32 (batch,).

        Args:
            counts: int32 (batch,), the tokens of the prompts.

        Raises:
            InputError: when a prompt has none, or too many (in a graph, see `tfxlm.backend.check_range`).
        """
        counts = 1 + check_range(counts - 1, self.longest, "Each prompt must have at least one token.")
        room = self.longest - self.max_new_tokens if self.max_new_tokens else (self.max_length or self.longest) - 1
        counts = check_range(
            counts,
            max(room, 0) + 1,
            f"Prompts may have {max(room, 0)} tokens here, for the model reads texts of {self.longest}, new tokens "
            "included. Cut the prompts, or change max_new_tokens or max_length.",
        )
        limits = ops.minimum(self.most, (self.max_length or self.longest) - counts)
        if self.min_length is not None:
            return limits, self.min_length - counts
        return limits, ops.full_like(counts, self.min_new_tokens or 0)
