"""The tokenizer class that a folder asks for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm.checkpoints import Origin, is_file, read_origin
from tfxlm.configs.families import family_of
from tfxlm.configs.hub_options import pop_hub_options
from tfxlm.errors import ArgumentError, TokenizerError
from tfxlm.tokenizers import storage
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.xlm import XLMTokenizer
from tfxlm.tokenizers.xlm_roberta import XLMRobertaTokenizer

TOKENIZER_CLASSES: Mapping[str, type[Tokenizer]] = {
    tokenizer_class.__name__: tokenizer_class for tokenizer_class in (XLMTokenizer, XLMRobertaTokenizer)
}


def tokenizer_class_for(folder: Path, origin: Origin | None = None) -> type[Tokenizer]:
    """Returns the class for the tokenizer in a folder.

    The first of these that says something decides: the checkpoint of another program; ``tokenizer_class`` in
    ``tokenizer_config.json``; the same in ``config.json``; its ``architectures`` and ``model_type``; the vocabulary
    files that are there.

    Args:
        folder: the folder.
        origin: what the checkpoint of another program says of its model, where that is to count.

    Raises:
        TokenizerError: there is no class for it, or a file is malformed.
    """
    if origin is not None:
        return _class_of(origin.config, origin.program, folder)
    model = storage.read_optional(folder / storage.MODEL_FILE)
    settings = storage.read_optional(folder / storage.SETTINGS_FILE)
    for source, content in ((storage.SETTINGS_FILE, settings), (storage.MODEL_FILE, model)):
        name = str(content.get("tokenizer_class") or "").removesuffix("Fast")
        if name in TOKENIZER_CLASSES:
            return TOKENIZER_CLASSES[name]
        if name and name not in storage.ANY_CLASS:
            raise _none_for(folder, f"tokenizer_class {content['tokenizer_class']!r} in {source}")
    if family_of(model)[0] is not None:
        return _class_of(model, storage.MODEL_FILE, folder)
    for found in TOKENIZER_CLASSES.values():
        for choice in found.vocabulary_files:
            if all((folder / name).is_file() for name in choice.values()):
                return found
    raise _none_for(folder, f"no {storage.SETTINGS_FILE} or {storage.MODEL_FILE} that names one, nor its vocabulary")


def _class_of(model: Mapping[str, Any], source: str, folder: Path) -> type[Tokenizer]:
    model_type, evidence = family_of(model)
    for found in TOKENIZER_CLASSES.values():
        if model_type in found.model_types:
            return found
    raise _none_for(folder, f"{evidence} in {source}")


def _none_for(folder: Path, found: str) -> TokenizerError:
    known = "; ".join(
        f"{name}, which reads {' or '.join(' and '.join(choice.values()) for choice in known.vocabulary_files)}"
        for name, known in TOKENIZER_CLASSES.items()
    )
    return TokenizerError(
        f"'{folder}' has {found}: there is no tokenizer class for it. There is {known}. If its files are one's of "
        "these, call from_pretrained of that class."
    )


class AutoTokenizer:
    """Loads the tokenizer that goes with a checkpoint: an `XLMTokenizer` or an `XLMRobertaTokenizer`.

    Example:
        >>> from tfxlm import AutoTokenizer
        >>> type(AutoTokenizer.from_pretrained("examples/checkpoint")).__name__  # a folder, or a name on the hub
        'XLMTokenizer'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentError(
            "AutoTokenizer chooses a class and has no instances. Use AutoTokenizer.from_pretrained(name)."
        )

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **options: Any) -> Tokenizer:
        """Loads a tokenizer from a folder or from the hub.

        Args:
            name_or_path: a folder with the files of a tokenizer, or a hub name; or the checkpoint of another program,
                see `Tokenizer.from_pretrained`.
            **options: see `Tokenizer.from_pretrained`, which also lists what is raised.

        Returns:
            An instance of the class that `tokenizer_class_for` names.
        """
        hub = pop_hub_options(options)
        choices = [choice for known in TOKENIZER_CLASSES.values() for choice in known.vocabulary_files]
        folder = storage.find_folder(name_or_path, choices, **hub)
        has_own = any(storage.vocabulary_paths(folder, known.vocabulary_files) for known in TOKENIZER_CLASSES.values())
        origin = read_origin(name_or_path, **hub) if is_file(name_or_path) or not has_own else None
        found = tokenizer_class_for(folder, origin)
        if origin is None:
            tokenizer = found.from_pretrained(folder, **options)
        else:
            tokenizer = found.from_pretrained(name_or_path, **hub, **options)
        tokenizer.name_or_path = os.fspath(name_or_path)
        return tokenizer
