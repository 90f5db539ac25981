"""The settings of a tokenizer in files, as `transformers` lays them out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfxlm import files
from tfxlm.checkpoints import is_file
from tfxlm.errors import CheckpointNotFoundError, CorruptFileError, TokenizerError
from tfxlm.tokenizers.special_tokens import ADDITIONAL, ROLES, SpecialTokens

#: Vocabulary files by the argument of the constructor that takes their path, in each of the forms that they may have.
Choices = Sequence[Mapping[str, str]]

SETTINGS_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
MODEL_FILE = "config.json"
#: What other programs write beside a checkpoint: merges of the original XLM, and the list of pieces of fairseq.
CODES, DICTIONARY = BESIDE_ORIGINALS = ("codes*", "dict.txt")

#: Names of classes in the settings file that leave open which tokenizer it is ("Fast" left out).
ANY_CLASS = ("PreTrainedTokenizer", "TokenizersBackend", "SentencePieceBackend")

#: Entries of the settings file that say nothing to a constructor.
_NOT_SETTINGS = ("tokenizer_class", "auto_map", "name_or_path", "special_tokens_map_file", "tokenizer_file", "self")


def find_folder(name_or_path: str | os.PathLike[str], choices: Choices, **hub: Any) -> Path:
    """Finds the folder of a tokenizer, and downloads what there may be in it.

    Args:
        name_or_path: a folder, a file in it, or a hub name.
        choices: the vocabulary files, in each of the forms that they may have.
        **hub: options of `files.resolve_folder`.

    Raises:
        CheckpointNotFoundError: the folder or the repository does not exist.
    """
    if is_file(name_or_path):  # a checkpoint: its tokenizer is beside it
        return Path(name_or_path).expanduser().parent
    names = [name for choice in choices for name in choice.values()]
    settings = (SETTINGS_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, MODEL_FILE, *BESIDE_ORIGINALS)
    return files.resolve_folder(name_or_path, patterns=list(dict.fromkeys((*names, *settings))), **hub)


def vocabulary_paths(folder: Path, choices: Choices) -> dict[str, Path] | None:
    """Returns the paths of the vocabulary files by argument, in the first form that is whole.

    Args:
        folder: the folder of the tokenizer.
        choices: the vocabulary files, in each of the forms that they may have.

    Returns:
        The paths; None when files are missing in every form.

    Raises:
        UnsafeFileError: one is a link that leads out of the folder.
    """
    for choice in choices:
        if all((folder / name).is_file() for name in choice.values()):
            return {argument: files.inside(folder, name) for argument, name in choice.items()}
    return None


def missing_files(folder: Path, choices: Choices, name_or_path: str | os.PathLike[str]) -> CheckpointNotFoundError:
    """Returns the error for a folder without vocabulary files.

    Args:
        folder: the folder of the tokenizer.
        choices: the vocabulary files, in each of the forms that they may have.
        name_or_path: what the caller named.
    """
    absent = [" and no ".join(name for name in choice.values() if not (folder / name).is_file()) for choice in choices]
    needed = "which the tokenizer needs" if len(absent) == 1 else "one of which the tokenizer needs"
    return CheckpointNotFoundError(
        f"'{name_or_path}' has no {' and no '.join(absent)}, {needed}. Copy the tokenizer's files into the folder, or "
        "name the folder that has them."
    )


def read_settings(folder: Path, class_name: str) -> dict[str, Any]:
    """Reads the arguments of a tokenizer's constructor.

    Args:
        folder: the folder of the tokenizer. Every file in it is optional.
        class_name: name of the class that is going to be made.

    Raises:
        TokenizerError: a file is malformed, or the settings are those of another tokenizer.
    """
    settings = read_optional(folder / SETTINGS_FILE)
    found = str(settings.get("tokenizer_class") or class_name)
    if found.removesuffix("Fast") not in (class_name, *ANY_CLASS):
        raise TokenizerError(
            f"'{folder}' holds a {found}, not a {class_name}. Load it with the class of its own, or correct "
            f"'tokenizer_class' in {SETTINGS_FILE}."
        )
    for name in _NOT_SETTINGS:
        settings.pop(name, None)
    if "added_tokens_decoder" not in settings:  # older files keep added tokens apart
        settings |= read_optional(folder / SPECIAL_TOKENS_FILE)
        added = read_optional(folder / ADDED_TOKENS_FILE)
        listed = settings.get(ADDITIONAL)
        special = [*(settings.get(role) for role in ROLES), *(listed if isinstance(listed, list) else ())]
        settings["added_tokens_decoder"] = {
            index: {"content": token, "special": token in special, "normalized": token not in special}
            for token, index in added.items()
        }
    if not settings.get("lang2id") and not settings.get("id2lang"):  # older files list languages for the model only
        model = read_optional(folder / MODEL_FILE)
        settings |= {name: model[name] for name in ("lang2id", "id2lang") if model.get(name)}
    return settings


def check_size(folder: Path, ids: Iterable[int]) -> None:
    """Refuses a vocabulary that is longer than the word table of the model in the same folder.

    Args:
        folder: the folder of the tokenizer; without a model's configuration there is nothing to check.
        ids: the ids of the vocabulary.

    Raises:
        TokenizerError: an id has no row.
    """
    model = read_optional(folder / MODEL_FILE)
    rows = next((model[name] for name in ("vocab_size", "n_words") if isinstance(model.get(name), int)), None)
    largest = max(ids)
    if rows is not None and largest >= rows:
        raise TokenizerError(
            f"The vocabulary in '{folder}' has ids up to {largest}, but by {MODEL_FILE} the model has only {rows} "
            f"rows. Use the vocabulary that came with the checkpoint, or cut the list to its first {rows} entries."
        )


def write_settings(
    folder: str | os.PathLike[str],
    prefix: str | None,
    class_name: str,
    settings: Mapping[str, Any],
    special: SpecialTokens,
    vocab_size: int,
) -> tuple[str, ...]:
    """Writes what `read_settings` reads.

    Args:
        folder: the folder.
        prefix: put in front of each file name, with a hyphen.
        class_name: name of the tokenizer's class.
        settings: the arguments of the constructor, without the special tokens.
        special: the special tokens.
        vocab_size: number of entries of the vocabulary files.

    Returns:
        The paths of the files.
    """
    beyond = {name: index for name, index in special.ids.items() if index >= vocab_size}
    contents: dict[str, Mapping[str, Any]] = {
        SETTINGS_FILE: {
            **{name: value for name, value in settings.items() if name != "special_tokens" and value is not None},
            **dict.fromkeys((*ROLES, ADDITIONAL)),
            **special.by_role(),
            "added_tokens_decoder": {str(index): token.to_dict() for index, token in sorted(special.tokens.items())},
            "tokenizer_class": class_name,
        },
        SPECIAL_TOKENS_FILE: special.by_role(),
    }
    if beyond:
        contents[ADDED_TOKENS_FILE] = beyond
    paths = []
    for name, content in contents.items():
        path = prefixed(folder, prefix, name)
        files.write_json(path, content)
        paths.append(str(path))
    return tuple(paths)


def prefixed(folder: str | os.PathLike[str], prefix: str | None, name: str) -> Path:
    """Returns the path of a file whose name may have a prefix."""
    return Path(folder) / (f"{prefix}-{name}" if prefix else name)


def read_optional(path: Path) -> dict[str, Any]:
    """Reads a file of settings; a file that is not there has none.

    Raises:
        TokenizerError: the file is malformed.
        UnsafeFileError: it is a link that leads out of its folder.
    """
    if not path.is_file():
        return {}
    try:
        return files.read_json(files.inside(path.parent, path.name))
    except CorruptFileError as error:
        raise TokenizerError(f"{error} Restore the file; the tokenizer's settings are read from it.") from error
