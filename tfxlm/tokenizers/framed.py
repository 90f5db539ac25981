"""From tokens to model inputs: special tokens around them, padding after them."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfxlm.errors import InputError, TokenizerError
from tfxlm.tokenizers import arguments
from tfxlm.tokenizers.encoding import BatchEncoding
from tfxlm.tokenizers.framing import Framing
from tfxlm.tokenizers.lengths import Lengths, pad_row
from tfxlm.tokenizers.lookups import Columns, Details
from tfxlm.tokenizers.rules.templates import Template
from tfxlm.tokenizers.vocabulary import Vocabulary

#: `model_max_length` where nothing limits the length, as `transformers` has it.
NO_LIMIT = int(1e30)
#: A limit above this is none.
_LARGEST_LIMIT = int(1e20)
#: What has an entry per token, and the axes of a tensor of it.
_ROWS: Mapping[str, int] = dict.fromkeys(
    ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "langs", "position_ids"), 2
) | {"offset_mapping": 3}


class Framed(Vocabulary):
    """A vocabulary that frames and pads ids.

    Args:
        pieces: id by piece.
        template: how special tokens frame the input.
        settings: options by name: those of `Vocabulary`, ``"model_max_length"``, ``"padding_side"``,
            ``"truncation_side"``.
        lower_case: whether texts are lower-cased before special tokens are looked for.

    Raises:
        TokenizerError: special tokens are missing, or ids contradict each other.
        InputError: a side is neither ``"right"`` nor ``"left"``.
    """

    model_input_names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    pad_token_type_id: ClassVar[int] = 0

    def __init__(
        self, pieces: dict[str, int], template: Template, settings: Mapping[str, Any], lower_case: bool
    ) -> None:
        self._template = template
        super().__init__(pieces, settings, lower_case)
        self.model_max_length = int(min(self._limit(settings), NO_LIMIT))
        self.padding_side: str = settings.get("padding_side") or "right"
        self.truncation_side: str = settings.get("truncation_side") or "right"
        self._warned: set[str] = set()
        self._lengths()  # checks the sides

    @staticmethod
    def _limit(settings: Mapping[str, Any]) -> float:
        limit = arguments.setting(settings, "model_max_length", (int, float), "a number of tokens")
        if limit is not None and not limit >= 1:
            raise TokenizerError(
                f"model_max_length={limit} leaves no room for a token. Give a positive number, or None."
            )
        return NO_LIMIT if limit is None else limit

    @property
    def framing(self) -> Framing:
        """What puts special tokens around texts."""
        return self._framing

    @property
    def limits_length(self) -> bool:
        """Whether `model_max_length` says something."""
        return self.model_max_length < _LARGEST_LIMIT

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads encodings, for example to collate examples into a batch.

        Args:
            encoded_inputs: one encoding, a batch, or a list of encodings, with `input_ids`. `attention_mask`,
                `token_type_ids`, `langs`, `position_ids`, `special_tokens_mask` and `offset_mapping` are padded along
                with them, others are kept.
            padding: True or ``"longest"``, ``"max_length"``, or False.
            max_length: length for ``"max_length"``.
            pad_to_multiple_of: padded rows have a multiple of this length.
            padding_side: ``"right"`` or ``"left"``; None for the tokenizer's.
            return_attention_mask: whether to give `attention_mask`; True if None.
            return_tensors: ``"np"`` or ``"tf"``; lists if None.
            verbose: taken for scripts that give it; there is nothing to warn of.

        Returns:
            The padded encoding, with rows of shape ``(batch, length)``.

        Raises:
            InputError: there are no `input_ids`, or an option is wrong.
        """
        lengths = self._lengths(padding, False, max_length, pad_to_multiple_of, padding_side)
        columns, batched = arguments.read_columns(encoded_inputs)
        self._pad_columns(columns, lengths, return_attention_mask is not False)
        return finish(columns, batched, return_tensors)

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Frames the ids of a text or a pair with special tokens."""
        return self._framing.ids(token_ids_0, token_ids_1)

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Says where special tokens stand.

        Args:
            token_ids_0: ids of the text, or of a whole input.
            token_ids_1: ids of the second text, or None.
            already_has_special_tokens: whether `token_ids_0` is a whole input.

        Returns:
            1 for special tokens, 0 for others, one per token of the framed input.

        Raises:
            InputError: a second text is given beside a whole input.
        """
        if not already_has_special_tokens:
            return self._framing.special_mask(len(token_ids_0), None if token_ids_1 is None else len(token_ids_1))
        if token_ids_1 is not None:
            raise InputError(
                "With already_has_special_tokens=True the first argument is the whole input. Leave the second one out."
            )
        special = set(self.all_special_ids)
        return [int(index in special) for index in token_ids_0]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """Returns the segment (0 or 1) of each token of the framed input."""
        return self._framing.segments(len(token_ids_0), None if token_ids_1 is None else len(token_ids_1))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Returns how many special tokens frame a text or a pair."""
        return self._framing.size(pair)

    @property
    def max_len_single_sentence(self) -> int:
        """Most tokens of one text that the model takes."""
        return self.model_max_length - self._framing.size(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """Most tokens of both texts of a pair that the model takes."""
        return self.model_max_length - self._framing.size(pair=True)

    def _pad_columns(self, columns: Columns, lengths: Lengths, with_mask: bool) -> None:
        rows = columns["input_ids"]
        if with_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in rows]
        length = lengths.padded_length(len(row) for row in rows)
        side = lengths.padding_side
        if length and self.pad_token_id is None:
            raise InputError("Padding needs a pad_token, but this tokenizer has none. Make it with pad_token=...")
        fills: dict[str, Any] = {
            "input_ids": self.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
            "position_ids": 0,
            "sequence_ids": None,
            "word_ids": None,
            "offset_mapping": (0, 0),
        }
        for name in columns.keys() & fills.keys():
            columns[name] = [pad_row(row, length, fills[name], side) for row in columns[name]]
        if "langs" in columns:
            columns["langs"] = [
                pad_row(row, length, row[0 if side == "left" else -1] if row else 0, side) for row in columns["langs"]
            ]

    def _lengths(
        self,
        padding: bool | str = False,
        truncation: bool | str | None = False,
        max_length: int | None = None,
        multiple: int | None = None,
        padding_side: str | None = None,
        stride: int = 0,
    ) -> Lengths:
        return Lengths.resolve(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            multiple=multiple,
            padding_side=self.padding_side if padding_side is None else padding_side,
            truncation_side=self.truncation_side,
            model_max_length=self.model_max_length if self.limits_length else None,
            stride=stride,
        )

    def _refresh(self) -> None:
        super()._refresh()
        self._framing = Framing(self._template, self.special.role_ids())

    def _warn_once(self, subject: str, message: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, UserWarning, stacklevel=3)


def finish(
    columns: dict[str, Any], batched: bool, return_tensors: str | None, details: Details | None = None
) -> BatchEncoding:
    """Makes an encoding of columns.

    Args:
        columns: rows by name.
        batched: whether the encoding is one of several rows; otherwise it has the only one.
        return_tensors: ``"np"`` or ``"tf"``; lists if None.
        details: what else is known of the tokens.
    """
    if return_tensors and not columns["input_ids"]:  # no rows, but a tensor of rows has all its axes all the same
        empty = {name: np.empty((0, 0, 2)[:axes], np.int64) for name, axes in _ROWS.items() if name in columns}
        columns = columns | empty
    encoding = BatchEncoding(columns if batched else {name: column[0] for name, column in columns.items()}, details)
    return encoding.convert_to_tensors(return_tensors, prepend_batch_axis=not batched)
