"""From texts to model inputs: the calls that every tokenizer has."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfxlm.errors import InputError, LanguageError
from tfxlm.tokenizers import arguments
from tfxlm.tokenizers.encoding import BatchEncoding
from tfxlm.tokenizers.framed import Framed, finish
from tfxlm.tokenizers.languages import Lang, SegmentLanguages
from tfxlm.tokenizers.lengths import Lengths
from tfxlm.tokenizers.lookups import Columns, Details
from tfxlm.tokenizers.tokens import Tokens, of_words
from tfxlm.tokenizers.windows import truncate, windows

#: What encodings say of their tokens only when asked.
_DETAILS = ("sequence_ids", "word_ids", "offset_mapping")


@dataclass(frozen=True, slots=True)
class Batch:
    """The texts of a call, and how their tokens become rows.

    Args:
        rows: texts and second texts; each is a str, a list of words, or tokens.
        languages: for each row the languages of its texts.
        lengths: truncation and padding.
        special: whether special tokens frame the rows.
        bypass: whether texts are cut into words by white space.
        split_special: whether special tokens inside a text are ordinary text; None for the tokenizer's.
        overflow: whether what is cut off makes further rows.
    """

    rows: list[arguments.Row]
    languages: list[SegmentLanguages]
    lengths: Lengths
    special: bool
    bypass: bool
    split_special: bool | None
    overflow: bool


class Batching(Framed):
    """Makes model inputs of texts; see `Framed` for the arguments."""

    #: Offsets, words and windows are there, as with the fast tokenizers of `transformers`.
    is_fast = True
    #: Whether the same text may be cut otherwise the next time.
    cuts_at_random = False

    def _encode_text(self, text: Any, lang: str | None, bypass: bool, split_special_tokens: bool | None) -> list[int]:
        """Returns the ids of a text, without special tokens around it."""
        raise NotImplementedError

    def _trace_text(self, text: Any, lang: str | None, bypass: bool, split_special_tokens: bool | None) -> Tokens:
        """Returns the same ids with their words and offsets."""
        raise NotImplementedError

    def __call__(
        self,
        text: str | Tokens | Sequence[Any],
        text_pair: str | Tokens | Sequence[Any] | None = None,
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
        verbose: bool = True,
    ) -> BatchEncoding:
        """Turns texts into model inputs.

        Args:
            text: a text, a list of texts, or a list of pairs. With `is_split_into_words`, a text is a list of words.
            text_pair: the second text of a pair, or a list of them.
            lang: language code of the texts; for pairs a tuple may name one for each text; a list names one (or one
                tuple) per row.
            add_special_tokens: whether special tokens frame the input.
            padding: True or ``"longest"``, ``"max_length"``, or False.
            truncation: True or ``"longest_first"``, ``"only_first"``, ``"only_second"``, or False. None means False,
                or ``"longest_first"`` (with a warning) if `max_length` is given and `padding` is off.
            max_length: most tokens per row, special tokens included.
            stride: with `return_overflowing_tokens`, tokens that each window shares with the one before.
            is_split_into_words: whether texts are lists of words. Each word is tokenized for itself.
            bypass_tokenizer: whether texts are already cut into words by white space, and in the letter case of the
                vocabulary: they are taken as they are. For languages whose segmenter is not installed.
            pad_to_multiple_of: padded rows have a multiple of this length.
            padding_side: ``"right"`` or ``"left"``; None for the tokenizer's.
            return_tensors: ``"np"`` or ``"tf"``; lists if None.
            return_attention_mask: whether to give `attention_mask`; True if None.
            return_token_type_ids: whether to give `token_type_ids`; False if None.
            return_langs: whether to give `langs`; if None, where the tokenizer has languages and `lang` is given.
            return_special_tokens_mask: whether to give `special_tokens_mask`.
            return_overflowing_tokens: whether what truncation cuts off makes further rows, windows over the long
                text. With ``"only_first"`` and ``"only_second"`` the other text of a pair is whole in each of them;
                with ``"longest_first"`` each window of the first text meets each window of the second. The result is
                a batch, also for one text. (So do the fast tokenizers of `transformers`; its slow ones give
                `overflowing_tokens` instead, and refuse pairs with ``"longest_first"``.)
            return_offsets_mapping: whether to give `offset_mapping`.
            return_length: whether to give `length`, the tokens of each row without padding.
            split_special_tokens: whether special tokens inside a text are ordinary text; None for the tokenizer's.
            verbose: whether to warn.

        Returns:
            The encoding. Lists for one text hold numbers, those for a batch rows; tensors always have a batch axis.
            `input_ids`, `attention_mask` (1 for tokens, 0 for padding), `token_type_ids`, `langs` and
            `special_tokens_mask` have shape ``(batch, length)``, `length` has shape ``(batch,)``. In `langs` a
            special token has the language of its segment, and padding that of the nearest token.

            `offset_mapping`, ``(batch, length, 2)``, has start and end of each token in the given text (in its word,
            with `is_split_into_words`), in characters; (0, 0) for special tokens and padding. They never go back from
            one token to the next. What the tokenizer makes of characters is taken back: a token stands for the
            characters that it was made of, and for the accents that were taken off them. Tokens that share a
            character (one "…" becomes three dots) share its place. A token made of white space has none: an empty
            span.

            `overflow_to_sample_mapping`, ``(batch,)``, has the index of the text for each of the windows.

            `BatchEncoding.word_ids` and the other methods about words and characters work on every encoding.

        Raises:
            InputError: a text is not a str, or an option is wrong.
            LanguageError: a language is unknown, missing where `langs` is asked for, or needs a segmenter that is not
                installed.
        """
        if return_token_type_ids and not add_special_tokens:
            raise InputError(
                "return_token_type_ids=True needs add_special_tokens=True: without special tokens it is undefined."
            )
        implied = truncation is None and max_length is not None and padding is False
        lengths = self._lengths(padding, implied or truncation, max_length, pad_to_multiple_of, padding_side, stride)
        if implied and verbose:
            self._warn_once(
                "implied truncation",
                "max_length is given without truncation=True: rows are truncated to it. Pass truncation=True to say "
                "so, or truncation=False to keep everything.",
            )
        rows, batched = arguments.read_rows(text, text_pair, is_split_into_words)
        languages = self.languages.per_row(lang, [second is not None for _, second in rows])
        with_langs = lang is not None and bool(self.languages.ids) if return_langs is None else return_langs
        if with_langs and (lang is None or not self.languages.ids):
            raise LanguageError(
                "return_langs=True needs a lang and a tokenizer with languages (lang2id). Pass lang, one code per "
                "call, row or text."
            )
        wanted = {
            "token_type_ids": return_token_type_ids,
            "langs": with_langs,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "word_ids": is_split_into_words or return_offsets_mapping,
            "sequence_ids": is_split_into_words or return_offsets_mapping,
        }
        batch = Batch(
            rows,
            languages,
            lengths,
            special=add_special_tokens,
            bypass=bypass_tokenizer,
            split_special=split_special_tokens,
            overflow=return_overflowing_tokens,
        )
        # What was drawn at random cannot be found out later.
        at_once = self.cuts_at_random and not any(isinstance(text, Tokens) for row in rows for text in row)
        wanted |= dict.fromkeys(_DETAILS, True) if at_once else {}
        columns = self._columns(batch, [name for name, value in wanted.items() if value])

        sizes = [len(row) for row in columns["input_ids"]]
        longest = max(sizes, default=0)
        if max_length is None and longest > self.model_max_length and verbose:
            self._warn_once(
                "too long",
                f"A row has {longest} tokens, but the model takes at most {self.model_max_length}. Pass "
                "truncation=True to cut rows to that length.",
            )
        self._pad_columns(columns, lengths, return_attention_mask is not False)
        if return_length:
            columns["length"] = sizes
        known = {name: columns[name] for name in _DETAILS if name in columns}
        if at_once:
            known["tokens"] = self._tokens_by_row(columns)
        for name in ("word_ids", "sequence_ids", *(() if return_offsets_mapping else ("offset_mapping",))):
            columns.pop(name, None)
        details = Details(partial(self._find_details, batch, len(self)), known)
        return finish(columns, batched or return_overflowing_tokens, return_tensors, details)

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """Returns the `input_ids` of a text or a pair; see `encode_plus`."""
        return self.encode_plus(text, text_pair, **options)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """Turns one text or one pair into model inputs.

        Args:
            text: the text; or its tokens, or its ids.
            text_pair: the second text, likewise.
            **options: those of a call.
        """
        if options.get("is_split_into_words"):
            return self(text, text_pair, **options)
        return self(self._ready(text), self._ready(text_pair), **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Sequence[Any], **options: Any) -> BatchEncoding:
        """Turns several texts or pairs into model inputs.

        Args:
            batch_text_or_text_pairs: a list of texts or of pairs; texts may be given by their ids.
            **options: those of a call.
        """
        if options.get("is_split_into_words"):
            return self(batch_text_or_text_pairs, **options)
        return self([self._ready(row, in_batch=True) for row in batch_text_or_text_pairs], **options)

    def prepare_for_model(
        self, ids: Sequence[int], pair_ids: Sequence[int] | None = None, **options: Any
    ) -> BatchEncoding:
        """Makes model inputs of the ids of a text or a pair.

        Args:
            ids: ids of the text, without special tokens.
            pair_ids: ids of the second text, or None.
            **options: those of a call that do not read texts.
        """
        return self(Tokens(list(ids)), None if pair_ids is None else Tokens(list(pair_ids)), **options)

    def truncate_sequences(
        self,
        ids: Sequence[int],
        pair_ids: Sequence[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: bool | str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Cuts the ids of a text or a pair.

        Args:
            ids: ids of the text.
            pair_ids: ids of the second text, or None.
            num_tokens_to_remove: how many have to go.
            truncation_strategy: as in a call.
            stride: tokens that the overflow shares with what stays.

        Returns:
            The ids that stay of both, and the overflow: what was cut off the one text that is cut, with `stride`
            tokens of what stays; none where ``"longest_first"`` cuts a pair.

        Raises:
            InputError: the strategy cannot cut that much.
        """
        size = len(ids) + len(pair_ids or ())
        lengths = self._lengths(False, truncation_strategy, max(size - num_tokens_to_remove, 1), stride=stride)
        return truncate(lengths, ids, pair_ids, num_tokens_to_remove)

    def _ready(self, text: Any, in_batch: bool = False) -> Any:
        """Recognises texts that are given as ids or, outside a batch, as tokens."""
        if isinstance(text, (list, tuple)) and text:
            if all(isinstance(item, int) for item in text):
                return Tokens(list(text))
            if in_batch and len(text) == 2:
                return tuple(map(self._ready, text))
            if not in_batch and all(isinstance(item, str) for item in text):
                return Tokens(self.convert_tokens_to_ids(list(text)))
        return text

    def _columns(self, batch: Batch, names: Sequence[str]) -> Columns:
        """Returns a row per text or window for each of the names, and for ``"input_ids"``, without padding."""
        columns: Columns = {"input_ids": [], **{name: [] for name in names}}
        samples: list[int] = []
        frames = [self._framing.size(pair) if batch.special else 0 for pair in (False, True)]
        traced = "offset_mapping" in columns
        for index, ((text, other), langs) in enumerate(zip(batch.rows, batch.languages, strict=True)):
            first = self._tokens_of(text, langs[0], batch, traced)
            second = None if other is None else self._tokens_of(other, langs[1], batch, traced)
            sizes = len(first), None if second is None else len(second)
            frame = frames[second is not None]
            for window, other_window in windows(batch.lengths, *sizes, frame, batch.overflow):
                part = first.part(window)
                other_part = second.part(other_window) if second and other_window else second
                for name, column in columns.items():
                    column.append(self._entries(name, part, other_part, langs, batch.special))
                samples.append(index)
        if batch.overflow:
            columns["overflow_to_sample_mapping"] = samples
        return columns

    def _tokens_of(self, text: Any, lang: str | None, batch: Batch, traced: bool) -> Tokens:
        if isinstance(text, Tokens):
            if traced:
                raise InputError("Ids have no text, so there are no words and offsets. Encode the text instead.")
            return text
        options = lang, batch.bypass, batch.split_special
        words = text if isinstance(text, (list, tuple)) else [text]
        if traced:
            found = (self._trace_text(word, *options) for word in words)
        else:
            found = (Tokens(self._encode_text(word, *options)) for word in words)
        return next(found) if words is not text else of_words(found)

    def _entries(
        self, name: str, first: Tokens, second: Tokens | None, langs: SegmentLanguages, special: bool
    ) -> list[Any]:
        """Returns what each token of a row has under a name."""
        framing = self._framing
        sizes = len(first), None if second is None else len(second)
        match name:
            case "input_ids":
                return framing.ids(first.ids, None if second is None else second.ids, special)
            case "word_ids":
                return framing.around(first.words, None if second is None else second.words, None, special)
            case "offset_mapping":
                return framing.around(first.offsets, None if second is None else second.offsets, (0, 0), special)
            case "sequence_ids":
                return framing.sequences(*sizes, special)
            case "special_tokens_mask":
                return framing.special_mask(*sizes, special)
            case "langs":
                lang_ids = [self.languages.id_of(str(lang)) for lang in langs]
                return [lang_ids[segment] for segment in framing.segments(*sizes, special)]
        return framing.segments(*sizes, special)

    def _find_details(self, batch: Batch, size: int) -> Columns:
        if len(self) != size:
            raise InputError(
                f"The tokenizer has {len(self)} tokens, but had {size} when it made this encoding. Encode the texts "
                "again to ask for their words and offsets."
            )
        columns = self._columns(batch, _DETAILS)
        self._pad_columns(columns, batch.lengths, with_mask=False)
        return columns | {"tokens": self._tokens_by_row(columns)}

    def _tokens_by_row(self, columns: Columns) -> list[list[str]]:
        return [self.convert_ids_to_tokens(row) for row in columns["input_ids"]]
