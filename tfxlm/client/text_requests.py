"""From texts to the tensors of a signature."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

import numpy as np

from tfxlm.client.metadata import ModelMetadata, Signature
from tfxlm.errors import ArgumentError, InputError, LanguageError

# What a user gives for a text input, and what goes into a row of it.
Texts = str | Sequence[str]
Cell = str | Sequence[str]
# One code for all texts, or one for each.
Languages = str | Sequence[str] | None


@dataclass(frozen=True)
class Task:
    """A way to ask a model with texts.

    Args:
        what: what the model does, for messages.
        inputs: that its signature takes beside languages; for each the input that says its language, None where
            it holds words, which are not cut any more.
        outputs: that the signature has.
        without: outputs that tell the signature of another task.
        counts: the input that says how many texts of a row are real.
        numbers: inputs, a number for each row, that a signature may have as well.
    """

    what: str
    inputs: Mapping[str, str | None]
    outputs: frozenset[str]
    without: frozenset[str] = frozenset()
    counts: str | None = None
    numbers: frozenset[str] = frozenset()

    def find(self, metadata: ModelMetadata) -> tuple[str, Signature]:
        """Finds the signature, whatever its name.

        Raises:
            InputError: the model has none.
        """
        wanted = {*self.inputs, *([self.counts] if self.counts else [])}
        for name in sorted(metadata.signatures, key=lambda name: (name != "serving_default", name)):
            signature = metadata.signatures[name]
            taken = {given for given in signature.inputs if not given.startswith("lang")}
            given = set(signature.outputs)
            if taken - self.numbers == wanted and self.outputs <= given and not self.without & given:
                return name, signature
        known = "; ".join(
            f"{name} ({', '.join(signature.inputs)} -> {', '.join(signature.outputs)})"
            for name, signature in metadata.signatures.items()
        )
        raise InputError(
            f"Model {metadata.name!r} does not {self.what}: none of its signatures takes {', '.join(sorted(wanted))} "
            f"and gives {', '.join(sorted(self.outputs))}. It has {known or 'none'}."
        )


class TextOptions(TypedDict, total=False):
    """What all questions about texts take; see `TextRequest`."""

    batch_size: int
    tokenizer: Any
    is_cut: bool
    version: int | None
    label: str | None
    timeout: float | None


@dataclass(frozen=True)
class TextRequest:
    """How texts are sent.

    Args:
        batch_size: most rows in one request.
        tokenizer: the model's `XLMTokenizer`, which cuts Chinese, Japanese and Thai texts into words.
        is_cut: such texts have spaces between their words already.
        version: version to ask; the newest by default.
        label: version label to ask, instead of a version.
        timeout: seconds to wait for the answer to each request, retries included.

    Raises:
        InputError: an option is out of range.
    """

    batch_size: int = 32
    tokenizer: Any = None
    is_cut: bool = False
    version: int | None = None
    label: str | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError(f"batch_size must be a whole number of 1 or more, got {self.batch_size!r}.")
        if self.tokenizer is not None and not callable(getattr(self.tokenizer, "cut_words", None)):
            raise InputError(
                f"tokenizer must be an XLMTokenizer, got {type(self.tokenizer).__name__}. It is needed only for texts "
                "in Chinese, Japanese and Thai that are not cut into words."
            )

    @classmethod
    def of(cls, options: TextOptions) -> "TextRequest":
        """Reads the options of a call.

        Raises:
            ArgumentError: there is no such option.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError(f"Unknown options {', '.join(unknown)}; expected some of {', '.join(known)}.")
        return cls(**options)

    def cut(self, texts: Mapping[str, Sequence[Cell]], languages: Mapping[str, Sequence[str] | None]) -> dict[str, Any]:
        """Cuts texts into words where their language is written without spaces.

        Args:
            texts: rows by input.
            languages: the code of each row, by input.

        Raises:
            LanguageError: nothing can cut them here, and nobody has cut them before.
        """
        return {
            name: rows
            if languages.get(name) is None
            else [self._cut_cell(cell, code) for cell, code in zip(rows, languages[name] or (), strict=True)]
            for name, rows in texts.items()
        }

    def _cut_cell(self, cell: Cell, code: str) -> Cell:
        # Here, as it takes the client three times as long to import it as all else.
        from tfxlm.tokenizers.segmenters import SEGMENTERS

        if code not in SEGMENTERS or self.is_cut:
            return cell
        if self.tokenizer is None:
            raise LanguageError(
                f"{SEGMENTERS[code].language} text has to come with spaces between its words. Pass "
                "tokenizer=XLMTokenizer.from_pretrained(...), which cuts it here (an export has its tokenizer in "
                '"assets.extra/tokenizer"); or send what '
                f"XLMTokenizer.cut_words(text, lang={code!r}) gives, with is_cut=True."
            )
        if isinstance(cell, str):
            return self.tokenizer.cut_words(cell, code)
        return [self.tokenizer.cut_words(text, code) for text in cell]


def text_rows(**texts: Texts) -> tuple[dict[str, list[str]], bool]:
    """Brings texts to the same number of rows; a single text goes with each of many.

    Args:
        **texts: one text or many, by input.

    Returns:
        The rows by input, and whether a single one was given.

    Raises:
        InputError: something else than text, or lists of unequal length.
    """
    sizes = {name: None if isinstance(given, str) else _checked_texts(given, name) for name, given in texts.items()}
    many = {size for size in sizes.values() if size is not None}
    if len(many) > 1:
        raise InputError(f"Lists of texts must be equally long; got {sizes}.")
    count = many.pop() if many else 1
    return (
        {name: [given] * count if isinstance(given, str) else list(given) for name, given in texts.items()},
        all(size is None for size in sizes.values()),
    )


def _checked_texts(given: Any, name: str) -> int:
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise InputError(f"{name} must be a text or a list of texts, got {type(given).__name__}.")
    entries = list(given)
    for number, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise InputError(f"{name} must hold texts; got {type(entry).__name__} at position {number}.")
    return len(entries)


def nested_rows(rows: Any, name: str) -> tuple[list[list[str]], bool]:
    """Checks rows of several texts each, or a single row.

    Returns:
        The rows, and whether a single one was given.

    Raises:
        InputError: something else than lists of texts, or an empty row.
    """
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InputError(f"{name} must be a list of texts, or a list of such lists; got {type(rows).__name__}.")
    entries = list(rows)
    is_one = bool(entries) and all(isinstance(entry, str) for entry in entries)
    nested: list[list[str]] = []
    for number, row in enumerate([entries] if is_one else entries):
        if isinstance(row, str):
            raise InputError(f"{name} must be rows of texts, or texts alone; got both, a text at position {number}.")
        if not _checked_texts(row, f"{name}[{number}]"):
            raise InputError(f"{name} must hold at least one text in each row; row {number} is empty.")
        nested.append(list(row))
    return nested, is_one


def languages(given: str | Sequence[str] | None, name: str, rows: int) -> list[str] | None:
    """Returns a language code for each row.

    Raises:
        InputError: the codes are not text, or not as many as there are rows.
    """
    if given is None or isinstance(given, str):
        return None if given is None else [given] * rows
    count = _checked_texts(given, name)
    if count != rows:
        raise InputError(f"{name} must be one code for all, or one for each row; got {count} codes for {rows} rows.")
    return list(given)


def language_inputs(
    model: str, signature: Signature, given: Mapping[str, Sequence[str] | None], is_settled: bool
) -> dict[str, Sequence[str]]:
    """Returns the codes that a signature takes.

    Args:
        model: its name, for messages.
        signature: the signature.
        given: codes of each row, by input; None where a call has none.
        is_settled: whether codes are taken for a model whose export has settled the language, to cut texts.

    Raises:
        LanguageError: codes are missing, or the model takes none.
    """
    taken = {name: given.get(name) for name in signature.inputs if name.startswith("lang")}
    missing = [name for name, codes in taken.items() if codes is None]
    if missing:
        raise LanguageError(
            f"Model {model!r} has to be told the language of each text: pass {', '.join(missing)}, one code for all, "
            'such as lang="en", or one for each text.'
        )
    too_many = [name for name, codes in given.items() if codes is not None and name not in taken]
    if too_many and not taken and not is_settled:
        raise LanguageError(
            f"Model {model!r} takes texts without their language: leave {', '.join(too_many)} out. It finds the "
            "language out itself, or its export has settled it."
        )
    return {name: codes for name, codes in taken.items() if codes is not None}


def pair_languages(lang: Languages, lang_pair: Languages, text_pair: Texts | None) -> dict[str, Languages]:
    """Returns the languages of texts, and of second texts where there are some: those of the first by default.

    Raises:
        InputError: there is a language of second texts, and no such texts.
    """
    if text_pair is None:
        if lang_pair is not None:
            raise InputError("lang_pair is the language of text_pair, which is missing.")
        return {"lang": lang}
    return {"lang": lang, "lang_pair": lang if lang_pair is None else lang_pair}


def text_tensors(texts: Mapping[str, Sequence[Any]], counts: str | None) -> dict[str, np.ndarray]:
    """Makes arrays of rows; rows of several texts are filled up to the longest, and counted."""
    tensors = {}
    for name, rows in texts.items():
        if all(isinstance(row, str) for row in rows):
            tensors[name] = np.array(rows, dtype=object)
            continue
        sizes = [len(row) for row in rows]
        filled = np.full((len(rows), max(sizes)), "", dtype=object)
        for number, row in enumerate(rows):
            filled[number, : len(row)] = row
        tensors[name] = filled
        if counts is not None:
            tensors[counts] = np.array(sizes, np.int32)
    return tensors


def seed_inputs(model: str, signature: Signature, seeds: Sequence[int] | None, rows: int) -> dict[str, np.ndarray]:
    """Returns the seeds that a signature takes: those that are given, or new ones.

    Args:
        model: its name, for messages.
        signature: the signature.
        seeds: of each row; None for any.
        rows: how many there are.

    Raises:
        InputError: seeds are given, and the model draws nothing.
    """
    if "seed" in signature.inputs:
        drawn = np.random.default_rng().integers(2**31, size=rows) if seeds is None else np.asarray(seeds)
        return {"seed": drawn.astype(np.int32)}
    if seeds is not None:
        raise InputError(
            f"Model {model!r} draws nothing: leave seed out. Draws are for exports with "
            'export_model(..., generation={"do_sample": True}).'
        )
    return {}


def checked_seeds(seed: int | Sequence[int] | None, rows: int) -> list[int] | None:
    """Returns a seed for each row.

    Raises:
        InputError: seeds are no whole numbers of 31 bits, or not as many as there are rows.
    """
    if seed is None:
        return None
    seeds: list[Any] = list(seed) if isinstance(seed, Iterable) else [seed] * rows
    if any(isinstance(one, bool) or not isinstance(one, int | np.integer) or not 0 <= one < 2**31 for one in seeds):
        raise InputError(f"seed must be a whole number of 0 or more below 2**31, or one for each text, got {seed!r}.")
    if len(seeds) != rows:
        raise InputError(f"seed must be one for all, or one for each row; got {len(seeds)} seeds for {rows} rows.")
    return [int(one) for one in seeds]
