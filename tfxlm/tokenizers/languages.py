"""The languages of a tokenizer, and the language of each text in a call."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfxlm.errors import InputError, LanguageError, TokenizerError

SegmentLanguages = tuple[str | None, str | None]
Lang = str | tuple[str, str] | Sequence[str | tuple[str, str]] | None


class Languages:
    """The mapping between language codes and the ids of a model's language embeddings.

    Args:
        lang2id: id by language code, or None.
        id2lang: language code by id, or None. Either one is enough. Ids may be strings, as JSON has them.

    Raises:
        TokenizerError: an id is not a number or occurs twice, or the two mappings disagree.
    """

    def __init__(self, lang2id: Mapping[str, int] | None, id2lang: Mapping[Any, str] | None) -> None:
        forward = _checked("lang2id", (lang2id or {}).items())
        backward = _checked("id2lang", ((lang, index) for index, lang in (id2lang or {}).items()))
        if forward and backward and forward != backward:
            raise TokenizerError(
                f"lang2id {forward} and id2lang {backward} disagree. Give one of them, or make them agree."
            )
        self.ids = forward or backward

    def id_of(self, lang: str) -> int:
        """Returns the id of a language.

        Raises:
            LanguageError: the language is unknown.
        """
        self.check(lang)
        return self.ids[lang]

    def check(self, lang: str | None) -> None:
        """Refuses a language that is unknown. A tokenizer without languages takes any code for its rules.

        Raises:
            LanguageError: the language is unknown.
        """
        if lang is not None and not isinstance(lang, str):
            raise LanguageError(f"A language is given by its code, such as 'en', not by {lang!r}. {self._known()}")
        if lang is not None and self.ids and lang not in self.ids:
            raise LanguageError(f"The language {lang!r} is unknown. {self._known()}")

    def per_row(self, lang: Lang, pairs: Sequence[bool]) -> list[SegmentLanguages]:
        """Says which language each text of a batch is in.

        Args:
            lang: one code for all, a tuple with one code per text of a pair, or a list with one of these per row.
            pairs: for each row, whether it is a pair.

        Returns:
            For each row the languages of its first and of its second text; None where none was given.

        Raises:
            LanguageError: a language is unknown, or a tuple is given for a row that is no pair.
            InputError: a list has another length than the batch.
        """
        if not isinstance(lang, list):
            return [self._segments(lang, pair) for pair in pairs] if pairs else []
        if len(lang) != len(pairs):
            raise InputError(
                f"lang has {len(lang)} entries for {len(pairs)} rows. Give one language for all, or a list with one "
                "entry per row; for the two texts of a pair, a tuple."
            )
        missing = next((index for index, code in enumerate(lang) if code is None), None)
        if missing is not None:
            raise LanguageError(f"lang has no language for row {missing}. Give every row one. {self._known()}")
        return [self._segments(code, pair) for code, pair in zip(lang, pairs, strict=True)]

    def _segments(self, lang: Any, pair: bool) -> SegmentLanguages:
        if not isinstance(lang, tuple):
            self.check(lang)
            return lang, lang
        if len(lang) != 2 or not pair or None in lang:
            raise LanguageError(
                f"lang={lang!r} should name the languages of the two texts of a pair, but the row has "
                f"{2 if pair else 1}. Give a tuple of two codes for a pair, one code otherwise, and a list for rows."
            )
        for code in lang:
            self.check(code)
        return lang

    def _known(self) -> str:
        return f"Known languages: {', '.join(self.ids)}." if self.ids else "This tokenizer lists no languages."


def _checked(name: str, entries: Any) -> dict[str, int]:
    ids: dict[str, int] = {}
    for lang, index in entries:
        try:
            if not isinstance(lang, str) or isinstance(index, (bool, float)) or int(index) < 0:
                raise ValueError
            ids[lang] = int(index)
        except (TypeError, ValueError):
            raise TokenizerError(
                f"{name} should map language codes and ids from 0, but holds {lang!r} with {index!r}."
            ) from None
    if len(set(ids.values())) < len(ids):
        raise TokenizerError(f"{name} gives two languages the same id: {ids}. Every language needs an id of its own.")
    return ids
