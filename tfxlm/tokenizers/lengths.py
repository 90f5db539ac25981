"""How long the rows of a batch may be and will be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from tfxlm.errors import InputError

LONGEST, MAX_LENGTH, DO_NOT_PAD = "longest", "max_length", "do_not_pad"
LONGEST_FIRST, ONLY_FIRST, ONLY_SECOND, DO_NOT_TRUNCATE = (
    "longest_first",
    "only_first",
    "only_second",
    "do_not_truncate",
)
_PADDING: Mapping[Any, str] = MappingProxyType(
    {False: DO_NOT_PAD, None: DO_NOT_PAD, True: LONGEST} | {name: name for name in (LONGEST, MAX_LENGTH, DO_NOT_PAD)}
)
_TRUNCATION: Mapping[Any, str] = MappingProxyType(
    {False: DO_NOT_TRUNCATE, None: DO_NOT_TRUNCATE, True: LONGEST_FIRST}
    | {name: name for name in (LONGEST_FIRST, ONLY_FIRST, ONLY_SECOND, DO_NOT_TRUNCATE)}
)
_SIDES = ("right", "left")

T = TypeVar("T")


def choose(option: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """Returns ``choices[value]``.

    Raises:
        InputError: `value` is not among the choices; the message lists them.
    """
    if isinstance(value, Enum):  # as `transformers` names strategies
        value = value.value
    try:
        # 0 and 1 would pass for False and True
        if isinstance(value, (bool, str)) or value is None:
            return choices[value]
    except KeyError:
        pass
    named = ", ".join(repr(choice) for choice in choices if choice is not None)
    raise InputError(f"{option}={value!r} is not a choice. Choose one of: {named}.")


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the rows of a batch may be and will be.

    Args:
        padding: ``"do_not_pad"``, ``"longest"`` or ``"max_length"``.
        truncation: ``"do_not_truncate"``, ``"longest_first"``, ``"only_first"`` or ``"only_second"``.
        max_length: tokens per row, special tokens included; None where nothing needs it.
        multiple: rows are padded to a multiple of this.
        padding_side: ``"right"`` or ``"left"``.
        truncation_side: ``"right"`` or ``"left"``.
        stride: tokens that a window of a long text shares with the one before.
    """

    padding: str
    truncation: str
    max_length: int | None
    multiple: int | None
    padding_side: str
    truncation_side: str
    stride: int = 0

    @classmethod
    def resolve(
        cls,
        *,
        padding: bool | str | None,
        truncation: bool | str | None,
        max_length: int | None,
        multiple: int | None,
        padding_side: str,
        truncation_side: str,
        model_max_length: int | None,
        stride: int = 0,
    ) -> "Lengths":
        """Checks options as a caller gives them and fills in what follows from them.

        Args:
            padding: a strategy, or True for ``"longest"``.
            truncation: a strategy, or True for ``"longest_first"``.
            max_length: tokens per row, or None for `model_max_length`.
            multiple: ``pad_to_multiple_of``.
            padding_side: where padding goes.
            truncation_side: where tokens are cut off.
            model_max_length: what the model takes; None if nothing is known.
            stride: tokens that windows share.

        Raises:
            InputError: an option is not among its choices, or a length is needed and unknown or does not fit.
        """
        padding_strategy: str = choose("padding", padding, _PADDING)
        truncation_strategy: str = choose("truncation", truncation, _TRUNCATION)
        choose("padding_side", padding_side, dict.fromkeys(_SIDES))
        choose("truncation_side", truncation_side, dict.fromkeys(_SIDES))
        for name, value in (("max_length", max_length), ("pad_to_multiple_of", multiple)):
            if value is not None and not _is_number(value, 1):
                raise InputError(f"{name}={value!r} should be a positive number or None.")
        if not _is_number(stride, 0):
            raise InputError(f"stride={stride!r} should be a number of tokens, 0 or more.")
        if max_length is None and (padding_strategy == MAX_LENGTH or truncation_strategy != DO_NOT_TRUNCATE):
            if model_max_length is None:
                wanted = "padding='max_length'" if padding_strategy == MAX_LENGTH else f"truncation={truncation!r}"
                raise InputError(
                    f"{wanted} needs a length, but no max_length is given and the tokenizer knows no "
                    "model_max_length. Pass max_length, or make the tokenizer with model_max_length."
                )
            max_length = model_max_length
        if (
            multiple
            and max_length
            and truncation_strategy != DO_NOT_TRUNCATE
            and padding_strategy != DO_NOT_PAD
            and max_length % multiple
        ):
            raise InputError(
                f"Rows are cut to max_length={max_length} and padded to a multiple of {multiple}, but {max_length} is "
                f"none. Choose a max_length such as {max(max_length // multiple, 1) * multiple}."
            )
        return cls(padding_strategy, truncation_strategy, max_length, multiple, padding_side, truncation_side, stride)

    def padded_length(self, lengths: Iterable[int]) -> int:
        """Returns the length that rows of these lengths are padded to; longer rows stay as they are."""
        length = max(lengths, default=0)
        if self.padding == DO_NOT_PAD:
            return 0
        if self.padding == MAX_LENGTH and self.max_length is not None:
            length = self.max_length
        return -(-length // self.multiple) * self.multiple if self.multiple else length


def _is_number(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def pad_row(row: list[T], length: int, fill: T, side: str) -> list[T]:
    """Pads one row.

    Args:
        row: its items.
        length: wanted length; a longer row stays as it is.
        fill: the item to add.
        side: ``"right"`` or ``"left"``.
    """
    added = [fill] * (length - len(row))
    return added + row if side == "left" else row + added
