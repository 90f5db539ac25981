"""What the stored settings of released checkpoints get wrong, put right with a message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm import presets
from tfxlm.errors import ArgumentError

logger = logging.getLogger("tfxlm")

# The option of `from_pretrained` that says whether to.
OPTION = "corrections"
# What the released checkpoints were saved from.
_PRETRAINED = (["XLMWithLMHeadModel"], ["XLMModel"])
_OFF = f"Pass {OPTION}=False to keep what the files say."


def pop_corrections(options: dict[str, Any]) -> bool:
    """Takes the option out of `options`; it is True where it is not given.

    Raises:
        ArgumentError: when it is neither True nor False.
    """
    wanted = options.pop(OPTION, True)
    if type(wanted) is not bool:
        raise ArgumentError(f"{OPTION} must be True or False, got {wanted!r}.")
    return wanted


def correct_config(name_or_path: str | Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of a ``config.json`` with what is true of the released checkpoint that it belongs to.

    A model with another head was trained as its file says, whatever it was made from, and is left so.
    """
    released = presets.find(name_or_path, values)
    if values.get("architectures") not in (None, [], *_PRETRAINED):
        return dict(values)
    wrong = {} if released is None else {name: v for name, v in released.config.items() if values.get(name) != v}
    if released is not None and wrong:
        logger.warning(
            "'%s' is %s, which was trained with %s; its configuration says otherwise and was corrected. %s",
            name_or_path,
            released.name,
            ", ".join(f"{name}={value!r}" for name, value in wrong.items()),
            _OFF,
        )
    return {**values, **wrong}


def correct_letters(
    name_or_path: str | Path, config: Mapping[str, Any], given: Mapping[str, Any], preprocessing: str
) -> dict[str, Any]:
    """Returns what is true of the letters of a released vocabulary, as arguments of its tokenizer.

    Args:
        name_or_path: of the tokenizer.
        config: the content of the ``config.json`` beside it.
        given: what its files and the caller say, which counts.
        preprocessing: ``"hf"`` or ``"fair"``. Only the latter can lower-case some letters and not others.

    Returns:
        Arguments in place of their defaults.
    """
    released = presets.find(name_or_path, config)
    if released is None or not released.letters:
        return {}
    # Without either, the constructor's default would be what the files meant.
    whole = {"do_lowercase_and_remove_accent": released.letters["case"] != "none"}
    letters = whole | (dict(released.letters) if preprocessing == "fair" else {})
    if any(name in given for name in ("do_lowercase_and_remove_accent", *released.letters)):
        return {}
    if whole["do_lowercase_and_remove_accent"] and preprocessing == "hf":
        logger.warning(
            "'%s' has the vocabulary of %s, in whose texts only ASCII letters were lower-cased; preprocessing=\"hf\" "
            'lower-cases all, as transformers does. preprocessing="fair" is as it was trained.',
            name_or_path,
            released.name,
        )
        return {}
    logger.warning(
        "'%s' has the vocabulary of %s: %s, as it was trained, which its files do not say. %s",
        name_or_path,
        released.name,
        ", ".join(f"{name}={value!r}" for name, value in letters.items()),
        _OFF,
    )
    return letters
