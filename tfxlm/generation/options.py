"""How to generate: the options, under the names that `transformers` has for them."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfxlm.errors import InputError

Rule = tuple[Callable[[Any], bool], str]


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


_POSITIVE: Rule = (lambda value: _is_int(value) and value > 0, "a positive integer")
_COUNT: Rule = (lambda value: _is_int(value) and value >= 0, "an integer, 0 or more")
_ABOVE_ZERO: Rule = (lambda value: _is_number(value) and value > 0, "a number above 0")
_FLAG: Rule = (lambda value: isinstance(value, bool | np.bool_), "True or False")

_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("num_beams", "num_return_sequences"), _POSITIVE),
    **dict.fromkeys(("top_k", "no_repeat_ngram_size"), _COUNT),
    **dict.fromkeys(("temperature", "repetition_penalty"), _ABOVE_ZERO),
    **dict.fromkeys(("do_sample", "output_scores"), _FLAG),
    "top_p": (lambda value: _is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    "length_penalty": (_is_number, "a number"),
    "early_stopping": (
        lambda value: _FLAG[0](value) or (isinstance(value, str) and value == "never"),
        "True, False or 'never'",
    ),
    "pad_token_id": _COUNT,
}

# Options that say nothing where another one has this value.
_NEEDS: Mapping[str, tuple[str, Any, str]] = {
    **dict.fromkeys(("temperature", "top_k", "top_p"), ("do_sample", False, "do_sample=True")),
    **dict.fromkeys(("length_penalty", "early_stopping"), ("num_beams", 1, "num_beams above 1")),
}


@dataclasses.dataclass(frozen=True)
class GenerationOptions:
    """How to generate.

    Args:
        do_sample: whether tokens are drawn; else the likeliest is taken.
        temperature: scores are divided by it before a draw.
        top_k: how many of the likeliest tokens a draw is among; 0 for all.
        top_p: the share of the probability that the likeliest tokens have which a draw is among.
        repetition_penalty: what the scores of tokens that the text has already are divided by where they are positive,
            and multiplied by where they are negative (Keskar et al., 2019, "CTRL").
        no_repeat_ngram_size: how long sequences of tokens are that a text has only once; 0 for any.
        num_beams: how many texts are followed at a time; 1 for no beam search.
        length_penalty: the score of a text is divided by its length to this power.
        early_stopping: when a beam search ends: True, as soon as there are `num_beams` whole texts; False, when no
            better ones are to be expected; "never", when there can be no better ones.
        num_return_sequences: how many texts are made of each prompt.
        eos_token_ids: what ends a text.
        pad_token_id: what follows the end.
        output_scores: whether the scores of each step are returned.

    Raises:
        InputError: an option is wrong, or contradicts another.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int = 0
    output_scores: bool = False

    def __post_init__(self) -> None:
        for name, (holds, expected) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise InputError(f"{name} must be {expected}, got {value!r:.80}.")
        for field in dataclasses.fields(self):
            other, value, way_out = _NEEDS.get(field.name, ("", None, ""))
            if other and getattr(self, other) == value and getattr(self, field.name) != field.default:
                raise InputError(
                    f"{field.name}={getattr(self, field.name)!r} changes nothing with {other}={value}. Give {way_out}, "
                    f"or leave {field.name} out."
                )
        if self.do_sample and self.num_beams > 1:
            raise InputError(
                f"A beam search draws no tokens, but num_beams is {self.num_beams} and do_sample is True. Give one of "
                "them; num_return_sequences draws several texts."
            )
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            raise InputError(
                f"num_return_sequences={self.num_return_sequences} asks for more texts than num_beams="
                f"{self.num_beams} finds. Give more beams, or do_sample=True."
            )


def checked_option(name: str, value: Any, least: int) -> int:
    """Returns an option that is an integer.

    Raises:
        InputError: when it is not one, or below `least`.
    """
    if not _is_int(value) or value < least:
        expected = _POSITIVE[1] if least == 1 else f"an integer, {least} or more"
        raise InputError(f"{name} must be {expected}, got {value!r:.80}.")
    return int(value)


def token_id(name: str, value: Any, vocab_size: int) -> int:
    """Returns the id of a token.

    Raises:
        InputError: when it is none of the vocabulary.
    """
    if not _is_int(value) or not 0 <= value < vocab_size:
        raise InputError(f"{name} must be an id in [0, vocab_size = {vocab_size}), got {value!r:.80}.")
    return int(value)


def token_ids(name: str, value: Any, vocab_size: int) -> tuple[int, ...]:
    """Returns ids of tokens, given as one or several; none for None.

    Raises:
        InputError: when they are no ids of the vocabulary.
    """
    if value is None:
        return ()
    values = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
    if not all(_is_int(one) and 0 <= one < vocab_size for one in values):
        raise InputError(f"{name} must be one or several ids in [0, vocab_size = {vocab_size}), got {value!r:.80}.")
    return tuple(dict.fromkeys(int(one) for one in values))
