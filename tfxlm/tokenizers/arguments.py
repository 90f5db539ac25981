"""Reads the arguments of tokenizer calls, whose forms are many."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfxlm.errors import InputError, TokenizerError
from tfxlm.tokenizers.tokens import Tokens

Row = tuple[Any, Any]

#: Options of `transformers`' tokenizers and of its `from_pretrained` that mean nothing here: taken and left out.
WITHOUT_MEANING = frozenset(
    (
        *("use_fast", "from_slow", "legacy", "trust_remote_code", "tokenizer_type", "resume_download"),
        *("name_or_path", "config"),
    )
)


def read_rows(text: Any, text_pair: Any, of_words: bool = False) -> tuple[list[Row], bool]:
    """Brings texts and pairs into rows. The texts themselves are checked where they are read.

    Args:
        text: a text, a list of texts, or a list of pairs. A text is a str or `Tokens`.
        text_pair: None, a text, or a list of texts.
        of_words: whether a text is a list of words.

    Returns:
        The rows as (text, second text or None), and whether they came as a batch.

    Raises:
        InputError: `text` is none of these, or `text_pair` does not fit it.
    """
    is_text, one = (_is_words, "list of words") if of_words else (_is_text, "str")
    if is_text(text):
        if text_pair is not None and not is_text(text_pair):
            raise InputError(f"text is one {one}, so text_pair should be one, too, but it is {kind(text_pair)}.")
        return [(text, text_pair)], False
    if not isinstance(text, (list, tuple)):
        raise InputError(f"text should be a {one} or a list of {one}, but is {kind(text)}. {way_out(text, of_words)}")
    if text_pair is None:
        return [(row, None) if is_text(row) else _pair(row, of_words) for row in text], True
    if not isinstance(text_pair, (list, tuple)) or len(text_pair) != len(text):
        found = f"{len(text_pair)} texts" if isinstance(text_pair, (list, tuple)) else kind(text_pair)
        raise InputError(f"text has {len(text)} rows, so text_pair should be a list of {len(text)}, but is {found}.")
    return list(zip(text, text_pair, strict=True)), True


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, Tokens))


def _is_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not any(isinstance(word, (list, tuple)) for word in value[:1])


def _pair(row: Any, of_words: bool) -> Row:
    if not isinstance(row, (list, tuple)):
        raise InputError(
            f"A text should be a {'list of words' if of_words else 'str'}, but one is {kind(row)}. "
            f"{way_out(row, of_words)}"
        )
    if len(row) != 2:
        raise InputError(
            f"A row that is a list should be a pair of texts, but one has {len(row)} items. For texts that are cut "
            "into words already, pass is_split_into_words=True."
        )
    return row[0], row[1]


def read_columns(encodings: Any) -> tuple[dict[str, list[Any]], bool]:
    """Brings encodings into lists of rows by name.

    Args:
        encodings: one encoding, a batch of them in one dict, or a list of dicts.

    Returns:
        The columns, and whether they came as a batch.

    Raises:
        InputError: there are no `input_ids`, or the columns differ in length.
    """
    if not isinstance(encodings, Mapping):
        rows = list(encodings)
        if not rows or not all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
            raise InputError("pad() takes one encoding, or a list of encodings with the same names.")
        encodings = {name: [row[name] for row in rows] for name in rows[0]}
    if "input_ids" not in encodings:
        raise InputError(f"pad() needs input_ids, but got: {', '.join(encodings) or 'nothing'}.")
    columns = {name: listed(value) for name, value in encodings.items()}
    ids = columns["input_ids"]
    batched = not ids or isinstance(ids[0], list)
    if not batched:
        return {name: [column] for name, column in columns.items()}, False
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"pad() needs as many rows in every column, but got {sizes}.")
    return columns, True


def read_ids(token_ids: Any) -> list[int]:
    """Brings one id or a row of ids into a list.

    Args:
        token_ids: an int, or a list, array or tensor of them.

    Raises:
        InputError: there are several rows, or something else than ids.
    """
    try:
        ids = np.asarray(listed(token_ids))
    except ValueError:  # rows of several lengths
        ids = np.empty((0, 0))
    if ids.ndim > 1:
        raise InputError(
            f"decode() takes one row of ids, but got {kind(token_ids)} of several. Use batch_decode(), or pass one "
            "row of it."
        )
    if ids.size and ids.dtype.kind not in "iu":
        raise InputError(f"decode() takes ids, which are whole numbers, but got {token_ids!r:.80}.")
    return np.atleast_1d(ids).tolist()


def listed(values: Any) -> Any:
    """Turns arrays and tensors, also inside a list, into lists and numbers."""
    if isinstance(values, (list, tuple)):
        return [listed(value) for value in values]
    return values if isinstance(values, (int, str)) else np.asarray(values).tolist()


def known_options(given: Mapping[str, Any], known: Iterable[str], owner: str) -> dict[str, Any]:
    """Refuses misspelt options, and leaves out those of `transformers` that mean nothing here.

    Args:
        given: options by name, as a caller gives them.
        known: names of the options there are.
        owner: the class that has them, for the message.

    Returns:
        The options that mean something.

    Raises:
        InputError: there is no option of a name.
    """
    names = set(known)
    for name in given:
        if name not in names | WITHOUT_MEANING:
            close = difflib.get_close_matches(name, sorted(names), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "Leave it out, or write it into tokenizer_config.json."
            raise InputError(f"{owner} has no option {name!r}. {hint}")
    return {name: value for name, value in given.items() if name in names}


def setting(settings: Mapping[str, Any], name: str, types: type | tuple[type, ...], described: str) -> Any:
    """Returns an entry of a tokenizer's settings, or None where there is none.

    Args:
        settings: the settings, which may come from a file.
        name: the entry.
        types: what it may be.
        described: the same in words.

    Raises:
        TokenizerError: the entry is something else.
    """
    value = settings.get(name)
    if value is not None and (not isinstance(value, types) or isinstance(value, (bool, str))):
        raise TokenizerError(
            f"{name} should be {described}, but is {kind(value)}. Correct it in tokenizer_config.json, or pass {name}."
        )
    return value


def kind(value: Any) -> str:
    """Returns the type of a value in words."""
    return "None" if value is None else f"a {type(value).__name__}"


def way_out(value: Any, of_words: bool = False) -> str:
    """Says how to make a text, or a list of words, of a value that is none."""
    if of_words:
        return "With is_split_into_words=True a text is a list of its words, and a batch a list of such lists."
    if isinstance(value, (bytes, bytearray)):
        return "Decode it first: text.decode('utf-8')."
    if hasattr(value, "tolist") or hasattr(value, "numpy"):
        return "Convert arrays and tensors to lists of str."
    return "Pass a str, or a list of them for a batch."
