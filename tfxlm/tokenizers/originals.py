"""Tokenizers from the files that the original programs wrote: FAIR's XLM, and fairseq."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfxlm import files, presets
from tfxlm.checkpoints import find_original, read_origin
from tfxlm.errors import CheckpointNotFoundError, TokenizerError
from tfxlm.tokenizers import bpe_files
from tfxlm.tokenizers.storage import CODES

#: A vocabulary counts as one without capital letters, or without accents, up to this share of words that have some:
#: texts in it may quote other languages.
_STRAY = 0.005
#: Words that fairseq adds to make the size of a table even.
_FILLER = "madeupword"


def find_codes(path: Path) -> Path:
    """Finds the merges of an original XLM checkpoint, which are in a file of their own beside it.

    Args:
        path: the checkpoint. Of a released one it is known which merges it has.

    Raises:
        CheckpointNotFoundError: there is none, or several.
        UnsafeFileError: the file is a link that leads out of the folder.
    """
    folder = path.parent
    released = next((released for released in presets.RELEASED if f"{released.original}.pth" == path.name), None)
    if released is not None and (folder / f"codes_{released.codes}").is_file():
        return files.inside(folder, f"codes_{released.codes}")
    found = sorted(path for path in folder.glob(CODES) if path.is_file())
    if len(found) != 1:
        there = f"several: {', '.join(path.name for path in found)}" if found else "none"
        raise CheckpointNotFoundError(
            f"The merges of an XLM checkpoint are beside it in a file of its own, '{CODES}'; in '{folder}' there is "
            f"{there}. Pass the right one: from_pretrained(path, merges_file=...)."
        )
    return files.inside(folder, found[0].name)


def xlm_files(
    name_or_path: str | os.PathLike[str],
    special_tokens: Sequence[str],
    *,
    merges_file: Any = None,
    preprocessing: str = "hf",
    **hub: Any,
) -> dict[str, Any] | None:
    """Returns arguments of the tokenizer that belongs to an original XLM checkpoint.

    Args:
        name_or_path: the checkpoint, or the folder or hub name that has it.
        special_tokens: the tokens that must have the ids from 0.
        merges_file: in place of the ``codes_*`` beside it.
        preprocessing: of the tokenizer.
        **hub: options of `tfxlm.files.resolve_folder`.

    Returns:
        The arguments; None where there is no such checkpoint.

    Raises:
        CheckpointNotFoundError: the merges are missing.
        TokenizerError: the dictionary has other special tokens.
    """
    path = find_original(name_or_path, **hub)
    origin = read_origin(path) if path is not None else None
    if path is None or origin is None or origin.words is None:
        return None
    words = list(origin.words)
    if tuple(words[: len(special_tokens)]) != tuple(special_tokens):
        raise TokenizerError(
            f"The dictionary of '{path}' begins with {', '.join(words[: len(special_tokens)])}, and not with "
            f"{', '.join(special_tokens)} as the original code's do. Write vocab.json and merges.txt for it."
        )
    case, accents = letter_case_of(words[len(special_tokens) :])
    letters: dict[str, Any] = {"do_lowercase_and_remove_accent": case != "none"}
    if preprocessing == "fair":
        letters |= {"case": case, "accents": accents}
    return {
        "vocab_file": bpe_files.by_piece(words, special_tokens),
        "merges_file": find_codes(path) if merges_file is None else merges_file,
        **{name: origin.config[name] for name in ("lang2id", "id2lang") if origin.config.get(name)},
        **letters,
    }


def letter_case_of(words: Iterable[str]) -> tuple[str, str]:
    """Finds out what was done to the letters of a vocabulary.

    Args:
        words: the vocabulary, without special tokens.

    Returns:
        ``"none"``, ``"ascii"`` or ``"unicode"``, the letters that were lower-cased; and ``"keep"`` or ``"strip"``,
        whether accents are there.
    """
    words = list(words)
    stray = _STRAY * len(words)
    ascii_capitals = sum(any("A" <= char <= "Z" for char in word) for word in words)
    capitals = sum(any(char.isupper() for char in word) for word in words)
    accents = sum(
        any(unicodedata.category(char) == "Mn" for char in unicodedata.normalize("NFD", word)) for word in words
    )
    case = "none" if ascii_capitals > stray else "ascii" if capitals > stray else "unicode"
    return case, "keep" if accents > stray else "strip"


def check_dictionary(path: Path, pieces: Sequence[str]) -> None:
    """Refuses a list of fairseq by which pieces have other ids than their order says.

    Args:
        path: ``dict.txt``, rows of a piece and its count.
        pieces: the pieces of the SentencePiece model in their order, special ones left out.

    Raises:
        TokenizerError: ids would differ.
    """
    rows = [row.rpartition(" ")[0] for row in bpe_files.rows(path)]
    words = [row for row in rows if not row.startswith(_FILLER)]
    if words == list(pieces) and len(words) == len(rows):
        return
    differs = next((index for index, (row, piece) in enumerate(zip(rows, pieces, strict=False)) if row != piece), None)
    what = (
        f"has {len(rows)} pieces, and the model {len(pieces)}"
        if differs is None
        else f"has {rows[differs]!r:.60} in row {differs + 1}, where the model has {pieces[differs]!r:.60}"
    )
    raise TokenizerError(
        f"'{path}' {what}: ids by this list are not those of XLM-RoBERTa, which are by the model's order. Use the "
        "sentencepiece.bpe.model that belongs to it; or remove the list if you are sure."
    )
