"""Vocabularies and merges in files: as `transformers` has them, and as fastBPE has them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfxlm import files
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, InputError, TokenizerError
from tfxlm.tokenizers.bpe import END_OF_WORD, Merge

MAX_TEXT_BYTES = 64 * 1024 * 1024
#: One released list of 80,000 merges has three malformed rows; a file with many more is another kind of file.
_TOLERATED_ROWS = 1000
_CONTINUES = "@@"


def read_vocabulary(path: str | os.PathLike[str]) -> dict[str, int]:
    """Reads ``vocab.json``.

    Args:
        path: a file with a JSON object: id by piece.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: it is malformed, empty, has an id that is no number from 0, or one id twice.
    """
    try:
        vocabulary = files.read_json(path)
    except CorruptFileError as error:
        raise TokenizerError(f"{error} A vocabulary is a JSON object with an id for each piece.") from error
    wrong = next((piece for piece, index in vocabulary.items() if type(index) is not int or index < 0), None)
    if wrong is not None:
        raise TokenizerError(
            f"'{path}' gives {wrong!r} the id {vocabulary[wrong]!r:.40}; ids are whole numbers from 0. Restore "
            "the file."
        )
    pieces: dict[int, str] = {}
    for piece, index in vocabulary.items():
        if pieces.setdefault(index, piece) != piece:
            raise TokenizerError(
                f"'{path}' gives the id {index} to {pieces[index]!r} and to {piece!r}. Every piece needs an id of its "
                "own: restore the file."
            )
    if not vocabulary:
        raise TokenizerError(f"'{path}' is an empty vocabulary. Restore the file.")
    return vocabulary


def read_merges(path: str | os.PathLike[str]) -> list[Merge]:
    """Reads ``merges.txt`` or fastBPE's ``codes``: rows of two pieces, with or without a count, best first.

    A ``#version`` line is passed over, and so are a few malformed rows.

    Args:
        path: the file.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: it is not UTF-8, too large, or has more than one malformed row in a thousand.
    """
    lines = rows(path)
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    merges: list[Merge] = []
    malformed: list[str] = []
    for row in lines:
        columns = row.split(" ")
        if len(columns) in (2, 3) and columns == row.split():  # not so if a piece is or has white space
            merges.append((columns[0], columns[1]))
        else:
            malformed.append(row)
    if len(malformed) * _TOLERATED_ROWS > len(lines):
        raise TokenizerError(
            f"'{path}' is not a list of merges: {len(malformed)} of {len(lines)} rows are malformed, the first being "
            f"{malformed[0]!r:.80}. A row has two pieces separated by a space, and perhaps a count."
        )
    return merges


def write_merges(path: str | os.PathLike[str], merges: Iterable[Merge]) -> None:
    """Writes ``merges.txt``; the file appears whole or not at all."""
    with files.atomic_file(path) as temporary:
        temporary.write_bytes("".join(f"{left} {right}\n" for left, right in merges).encode())


def read_fastbpe_vocabulary(
    path: str | os.PathLike[str], special_tokens: Sequence[str], size: int | None = None
) -> dict[str, int]:
    """Reads the vocabulary of an original XLM checkpoint, rows of a piece and its count.

    Special tokens are not in the file and come first. The mark of pieces that continue (``@@``) is taken off, and the
    others get `END_OF_WORD`.

    Args:
        path: the file.
        special_tokens: tokens with the ids from 0.
        size: number of ids to take, special tokens included; None for all.

    Returns:
        Id by piece.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: the file has no rows of this form.
        InputError: `size` does not fit the file.
    """
    columns = [row.split(" ") for row in rows(path)]
    words = list(dict.fromkeys(row[0] for row in columns if len(row) == 2 and row[0] and row[1].isdigit()))
    if not words:
        raise TokenizerError(f"'{path}' has no rows of a piece and its count. Pass the file named vocab_*.")
    if size is not None and not len(special_tokens) < size <= len(special_tokens) + len(words):
        raise InputError(
            f"vocab_size={size} does not fit '{path}', which has {len(words)} pieces beside {len(special_tokens)} "
            "special tokens."
        )
    return by_piece([*special_tokens, *words][:size], special_tokens)


def by_piece(words: Sequence[str], special_tokens: Sequence[str]) -> dict[str, int]:
    """Returns the ids of pieces by their names here.

    Args:
        words: the pieces by id, as fastBPE spells them: those that continue end in ``@@``. The first are the special
            tokens.
        special_tokens: these.

    Returns:
        Id by piece; words that end have `END_OF_WORD`. Where two become one, the first counts.
    """
    vocabulary = {token: index for index, token in enumerate(special_tokens)}
    for index, word in enumerate(words[len(special_tokens) :], start=len(special_tokens)):
        piece = word.removesuffix(_CONTINUES) if word.endswith(_CONTINUES) else word + END_OF_WORD
        vocabulary.setdefault(piece, index)
    return vocabulary


def rows(path: str | os.PathLike[str]) -> list[str]:
    """Returns the rows of a list that are not empty.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: it is not UTF-8, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointNotFoundError(f"There is no file '{path}'. Name the file that the tokenizer came with.")
    data = files.read_most(path, MAX_TEXT_BYTES)
    if len(data) > MAX_TEXT_BYTES:
        raise TokenizerError(f"'{path}' is larger than {MAX_TEXT_BYTES} bytes: it is not the list of a tokenizer.")
    if placeholder := files.describe_placeholder(data):
        raise TokenizerError(f"'{path}' is {placeholder}")
    try:
        # Only "\n" ends a row: pieces may hold characters that other readers take for the end of a line.
        return [row for row in data.decode("utf-8").split("\n") if row]
    except UnicodeDecodeError as error:
        raise TokenizerError(f"'{path}' is not UTF-8 text: {error.reason} at byte {error.start}.") from error
