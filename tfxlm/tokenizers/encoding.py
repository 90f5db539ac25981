"""What a tokenizer returns: batches, and the truncation and padding that make them."""

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from tfxlm import trees
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


class BatchEncoding(dict[str, Any]):
    """The outcome of a tokenizer: a dict of model inputs whose values are attributes as well.

    Keras treats it as the dict it is: it can be passed to a model, to ``fit`` and to ``tf.data``.

    Args:
        data: model inputs by name.

    Example:
        >>> BatchEncoding({"input_ids": [0, 1]}).input_ids
        [0, 1]
    """

    def __init__(self, data: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(data)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"This encoding has no '{name}'; it holds: {', '.join(self) or 'nothing'}.") from None

    @property
    def data(self) -> dict[str, Any]:
        """The model inputs as a plain dict."""
        return dict(self)

    def convert_to_tensors(self, tensor_type: str | None, prepend_batch_axis: bool = False) -> "BatchEncoding":
        """Turns every value into a tensor, in place.

        Args:
            tensor_type: ``"np"`` (int64), ``"tf"`` (int32), or None to change nothing.
            prepend_batch_axis: whether to put an axis of length 1 in front.

        Returns:
            This encoding.

        Raises:
            InputError: `tensor_type` is unknown, or the rows of a value differ in length.
        """
        if tensor_type is None:
            return self
        make = choose("return_tensors", tensor_type, _TENSORS)
        for name, value in self.items():
            rows = [value] if prepend_batch_axis else value
            lengths = sorted({len(row) for row in rows if isinstance(row, Sized)})
            if len(lengths) > 1:
                raise InputError(
                    f"The rows of '{name}' have {lengths[0]} to {lengths[-1]} items and make no tensor. Pass "
                    "padding=True to make them equally long, and truncation=True with max_length to limit them."
                )
            self[name] = make(rows)
        return self


trees.register_mapping(BatchEncoding)


def _numpy(rows: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(rows)
    return array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array


def _tensorflow(rows: Any) -> Any:
    import tensorflow as tf

    array = np.asarray(rows)
    return tf.constant(array, dtype=tf.int32 if array.size == 0 or array.dtype.kind in "iu" else None)


_TENSORS: Mapping[str, Callable[[Any], Any]] = MappingProxyType({"np": _numpy, "tf": _tensorflow})


def choose(option: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """Returns ``choices[value]``.

    Raises:
        InputError: `value` is not among the choices; the message lists them.
    """
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
    """

    padding: str
    truncation: str
    max_length: int | None
    multiple: int | None
    padding_side: str
    truncation_side: str

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

        Raises:
            InputError: an option is not among its choices, or a length is needed and unknown or does not fit.
        """
        padding_strategy: str = choose("padding", padding, _PADDING)
        truncation_strategy: str = choose("truncation", truncation, _TRUNCATION)
        choose("padding_side", padding_side, dict.fromkeys(_SIDES))
        choose("truncation_side", truncation_side, dict.fromkeys(_SIDES))
        for name, value in (("max_length", max_length), ("pad_to_multiple_of", multiple)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
                raise InputError(f"{name}={value!r} should be a positive number or None.")
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
        return cls(padding_strategy, truncation_strategy, max_length, multiple, padding_side, truncation_side)

    def padded_length(self, lengths: Iterable[int]) -> int:
        """Returns the length that rows of these lengths are padded to; longer rows stay as they are."""
        length = max(lengths, default=0)
        if self.padding == DO_NOT_PAD:
            return 0
        if self.padding == MAX_LENGTH and self.max_length is not None:
            length = self.max_length
        return -(-length // self.multiple) * self.multiple if self.multiple else length

    def truncate(self, first: list[int], second: list[int] | None, frame: int) -> tuple[list[int], list[int] | None]:
        """Cuts a text or a pair so that, with `frame` special tokens, it has at most `max_length` tokens.

        Args:
            first: ids of the text.
            second: ids of the second text, or None.
            frame: number of special tokens that will be added.

        Returns:
            What stays of both.

        Raises:
            InputError: the strategy cannot cut that much.
        """
        total = len(first) + len(second or ()) + frame
        if self.truncation == DO_NOT_TRUNCATE or self.max_length is None or total <= self.max_length:
            return first, second
        excess = total - self.max_length
        if self.truncation == ONLY_SECOND:
            if second is None:
                raise InputError(
                    f"truncation='only_second' has to cut {excess} tokens, but there is no second text. Pass "
                    "text_pair, or truncation='only_first'."
                )
            return first, self._cut(second, excess, "second")
        if self.truncation == ONLY_FIRST or second is None:
            return self._cut(first, excess, "first"), second
        if excess > len(first) + len(second):
            raise InputError(
                f"max_length={self.max_length} has no room for the {frame} special tokens of a pair. Raise max_length."
            )
        from_first, from_second = _shares(len(first), len(second), excess)
        return self._keep(first, from_first), self._keep(second, from_second)

    def _cut(self, ids: list[int], excess: int, name: str) -> list[int]:
        if excess >= len(ids):
            raise InputError(
                f"max_length={self.max_length} asks to cut {excess} tokens from the {name} text, which has only "
                f"{len(ids)}. Raise max_length or choose another truncation strategy."
            )
        return self._keep(ids, excess)

    def _keep(self, ids: list[int], excess: int) -> list[int]:
        return ids[excess:] if self.truncation_side == "left" else ids[: len(ids) - excess]


def _shares(first: int, second: int, excess: int) -> tuple[int, int]:
    """Splits what has to be cut: the longer text down to the shorter one, then both in turn, the second one first."""
    level = min(abs(first - second), excess)
    rest = excess - level
    if first > second:
        return level + rest // 2, rest - rest // 2
    return rest // 2, level + rest - rest // 2


def pad_row(row: list[int], length: int, fill: int, side: str) -> list[int]:
    """Pads one row.

    Args:
        row: its items.
        length: wanted length; a longer row stays as it is.
        fill: the item to add.
        side: ``"right"`` or ``"left"``.
    """
    added = [fill] * (length - len(row))
    return added + row if side == "left" else row + added
