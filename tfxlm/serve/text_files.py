"""Configuration files of TensorFlow Serving: one message in protocol buffer text format."""

import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tfxlm.errors import ConfigError

# A model configuration of this size would name some thousand models; a larger file is something else.
MAX_BYTES = 1024 * 1024


def read_message(file: str | os.PathLike[str], message: Any, what: str, example: str) -> Any:
    """Reads a file into a message.

    Args:
        file: the file.
        message: an empty message.
        what: what the file is, for error messages: `"model configuration"`.
        example: what a file might say.

    Returns:
        The message.

    Raises:
        ConfigError: the file cannot be read, or is malformed; the message names the file and the place in it.
    """
    try:
        text_format.Parse(_read_text(Path(file), what), message)
    except (text_format.ParseError, RecursionError) as error:
        raise ConfigError(
            f"{file} is not a {message.DESCRIPTOR.name} in protocol buffer text format: "
            f"{error or 'nested too deeply'}. Expected: {example}"
        ) from None
    return message


def _read_text(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{file} is larger than {MAX_BYTES} bytes, so it is no {what}.")
        return content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"The {what} {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"The {what} {file} is not UTF-8 text: {error}.") from None
