"""From texts to model inputs: the calls that every tokenizer has."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tfxlm.errors import InputError, LanguageError, TokenizerError
from tfxlm.tokenizers import arguments
from tfxlm.tokenizers.encoding import BatchEncoding, Lengths, pad_row
from tfxlm.tokenizers.framing import Framing
from tfxlm.tokenizers.languages import Lang, SegmentLanguages
from tfxlm.tokenizers.rules.templates import Template
from tfxlm.tokenizers.vocabulary import Vocabulary

#: `model_max_length` where nothing limits the length, as `transformers` has it.
NO_LIMIT = int(1e30)
#: A limit above this is none.
_LARGEST_LIMIT = int(1e20)
#: What has one number per token.
_ROWS = {"input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "langs", "position_ids"}


class Batching(Vocabulary):
    """A vocabulary that frames, truncates and pads what a tokenizer makes of texts.

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
        super().__init__(pieces, settings, lower_case)
        self._framing = Framing(template, self.special.role_ids())
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

    def _encode_text(self, text: Any, lang: str | None, bypass: bool, split_special_tokens: bool | None) -> list[int]:
        """Returns the ids of a text, without special tokens around it."""
        raise NotImplementedError

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[tuple[str, str]],
        text_pair: str | Sequence[str] | None = None,
        *,
        lang: Lang = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        bypass_tokenizer: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        return_token_type_ids: bool | None = None,
        return_langs: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
    ) -> BatchEncoding:
        """Turns texts into model inputs.

        Args:
            text: a text, a list of texts, or a list of pairs.
            text_pair: the second text of a pair, or a list of them.
            lang: language code of the texts; for pairs a tuple may name one for each text; a list names one (or one
                tuple) per row.
            add_special_tokens: whether special tokens frame the input.
            padding: True or ``"longest"``, ``"max_length"``, or False.
            truncation: True or ``"longest_first"``, ``"only_first"``, ``"only_second"``, or False. None means False,
                or ``"longest_first"`` (with a warning) if `max_length` is given and `padding` is off.
            max_length: most tokens per row, special tokens included.
            stride: not available.
            is_split_into_words: not available.
            bypass_tokenizer: whether texts are already cut into words by white space.
            pad_to_multiple_of: padded rows have a multiple of this length.
            padding_side: ``"right"`` or ``"left"``; None for the tokenizer's.
            return_tensors: ``"np"`` or ``"tf"``; lists if None.
            return_attention_mask: whether to give `attention_mask`; True if None.
            return_token_type_ids: whether to give `token_type_ids`; False if None.
            return_langs: whether to give `langs`; if None, where the tokenizer has languages and `lang` is given.
            return_special_tokens_mask: whether to give `special_tokens_mask`.
            return_overflowing_tokens: not available.
            return_offsets_mapping: not available.
            return_length: whether to give `length`, the tokens of each row without padding.
            split_special_tokens: whether special tokens inside a text are ordinary text; None for the tokenizer's.

        Returns:
            The encoding. Lists for one text hold numbers, those for a batch rows; tensors always have a batch axis.
            `input_ids`, `attention_mask` (1 for tokens, 0 for padding), `token_type_ids`, `langs` and
            `special_tokens_mask` have shape ``(batch, length)``, `length` has shape ``(batch,)``. In `langs` a
            special token has the language of its segment, and padding that of the nearest token.

        Raises:
            InputError: a text is not a str, or an option is wrong or not available.
            LanguageError: a language is unknown, missing where `langs` is asked for, or needs a segmenter.
        """
        arguments.refuse_unavailable(
            {
                "stride": stride,
                "is_split_into_words": is_split_into_words,
                "return_overflowing_tokens": return_overflowing_tokens,
                "return_offsets_mapping": return_offsets_mapping,
            }
        )
        if return_token_type_ids and not add_special_tokens:
            raise InputError(
                "return_token_type_ids=True needs add_special_tokens=True: without special tokens it is undefined."
            )
        implied = truncation is None and max_length is not None and padding is False
        lengths = self._lengths(padding, implied or truncation, max_length, pad_to_multiple_of, padding_side)
        if implied:
            self._warn_once(
                "implied truncation",
                "max_length is given without truncation=True: rows are truncated to it. Pass truncation=True to say "
                "so, or truncation=False to keep everything.",
            )
        rows, batched = arguments.read_rows(text, text_pair)
        languages = self.languages.per_row(lang, [second is not None for _, second in rows])
        with_langs = lang is not None and bool(self.languages.ids) if return_langs is None else return_langs
        if with_langs and (lang is None or not self.languages.ids):
            raise LanguageError(
                "return_langs=True needs a lang and a tokenizer with languages (lang2id). Pass lang, one code per "
                "call, row or text."
            )

        columns: dict[str, list[Any]] = {"input_ids": []}
        for name, wanted in (
            ("token_type_ids", return_token_type_ids),
            ("langs", with_langs),
            ("special_tokens_mask", return_special_tokens_mask),
        ):
            if wanted:
                columns[name] = []
        for (first, second), langs in zip(rows, languages, strict=True):
            first_ids = self._encode_text(first, langs[0], bypass_tokenizer, split_special_tokens)
            second_ids = None
            if second is not None:
                second_ids = self._encode_text(second, langs[1], bypass_tokenizer, split_special_tokens)
            frame = self._framing.size(second is not None) if add_special_tokens else 0
            first_ids, second_ids = lengths.truncate(first_ids, second_ids, frame)
            columns["input_ids"].append(self._framing.ids(first_ids, second_ids, add_special_tokens))
            if len(columns) > 1:
                second_size = None if second_ids is None else len(second_ids)
                self._describe(columns, len(first_ids), second_size, langs, add_special_tokens)

        sizes = [len(row) for row in columns["input_ids"]]
        longest = max(sizes, default=0)
        if max_length is None and longest > self.model_max_length:
            self._warn_once(
                "too long",
                f"A row has {longest} tokens, but the model takes at most {self.model_max_length}. Pass "
                "truncation=True to cut rows to that length.",
            )
        self._pad_columns(columns, lengths, return_attention_mask is not False)
        if return_length:
            columns["length"] = sizes
        return _finish(columns, batched, return_tensors)

    def encode(self, text: str, text_pair: str | None = None, **options: Any) -> Any:
        """Returns the `input_ids` of a text or a pair; the options are those of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pads encodings, for example to collate examples into a batch.

        Args:
            encoded_inputs: one encoding, a batch, or a list of encodings, with `input_ids`. `attention_mask`,
                `token_type_ids`, `langs`, `position_ids` and `special_tokens_mask` are padded along with them, others
                are kept.
            padding: True or ``"longest"``, ``"max_length"``, or False.
            max_length: length for ``"max_length"``.
            pad_to_multiple_of: padded rows have a multiple of this length.
            padding_side: ``"right"`` or ``"left"``; None for the tokenizer's.
            return_attention_mask: whether to give `attention_mask`; True if None.
            return_tensors: ``"np"`` or ``"tf"``; lists if None.

        Returns:
            The padded encoding, with rows of shape ``(batch, length)``.

        Raises:
            InputError: there are no `input_ids`, or an option is wrong.
        """
        lengths = self._lengths(padding, False, max_length, pad_to_multiple_of, padding_side)
        columns, batched = arguments.read_columns(encoded_inputs)
        self._pad_columns(columns, lengths, return_attention_mask is not False)
        return _finish(columns, batched, return_tensors)

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

    def _describe(
        self, columns: dict[str, list[Any]], first: int, second: int | None, langs: SegmentLanguages, special: bool
    ) -> None:
        segments = self._framing.segments(first, second, special)
        if "token_type_ids" in columns:
            columns["token_type_ids"].append(segments)
        if "special_tokens_mask" in columns:
            columns["special_tokens_mask"].append(self._framing.special_mask(first, second, special))
        if "langs" in columns:
            lang_ids = [self.languages.id_of(str(lang)) for lang in langs]
            columns["langs"].append([lang_ids[segment] for segment in segments])

    def _pad_columns(self, columns: dict[str, list[Any]], lengths: Lengths, with_mask: bool) -> None:
        rows = columns["input_ids"]
        if with_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in rows]
        length = lengths.padded_length(len(row) for row in rows)
        side = lengths.padding_side
        if length and self.pad_token_id is None:
            raise InputError("Padding needs a pad_token, but this tokenizer has none. Make it with pad_token=...")
        fills = {
            "input_ids": self.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
            "position_ids": 0,
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
    ) -> Lengths:
        return Lengths.resolve(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            multiple=multiple,
            padding_side=self.padding_side if padding_side is None else padding_side,
            truncation_side=self.truncation_side,
            model_max_length=self.model_max_length if self.model_max_length < _LARGEST_LIMIT else None,
        )

    def _warn_once(self, subject: str, message: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, UserWarning, stacklevel=3)


def _finish(columns: dict[str, Any], batched: bool, return_tensors: str | None) -> BatchEncoding:
    if return_tensors and not columns["input_ids"]:  # no rows, but a tensor of rows has two axes all the same
        columns = columns | dict.fromkeys(columns.keys() & _ROWS, np.empty((0, 0), np.int64))
    encoding = BatchEncoding(columns if batched else {name: column[0] for name, column in columns.items()})
    return encoding.convert_to_tensors(return_tensors, prepend_batch_axis=not batched)
