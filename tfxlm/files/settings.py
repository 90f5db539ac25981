"""Files of settings that people write."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tfxlm.errors import CheckpointNotFoundError, ConfigError

MAX_SETTINGS_BYTES = 1 << 20
_READERS: Mapping[str, Callable[[str], Any]] = {
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".toml": tomllib.loads,
    ".json": json.loads,
}


def read_settings(path: Path) -> dict[str, Any]:
    """Reads a file of settings in YAML, TOML or JSON, by its ending.

    Args:
        path: the file.

    Returns:
        Values by field.

    Raises:
        CheckpointNotFoundError: there is no such file.
        ConfigError: it has another ending, is too large, or cannot be read.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(f"There is no file of settings '{path}'.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"'{path}' must end in {', '.join(_READERS)}, which says how it is written.")
    with path.open("rb") as file:
        data = file.read(MAX_SETTINGS_BYTES + 1)
    if len(data) > MAX_SETTINGS_BYTES:
        raise ConfigError(f"'{path}' has more than {MAX_SETTINGS_BYTES} bytes: it is no file of settings.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not UTF-8: {error}.") from error
    values = _parsed(f"'{path}'", text, reader)
    if not isinstance(values, dict):
        raise ConfigError(f"'{path}' must hold fields with values, got {type(values).__name__}.")
    return values


def parse_value(what: str, text: str) -> Any:
    """Reads one value, written as in YAML.

    Args:
        what: the beginning of a message about it.
        text: the value.

    Raises:
        ConfigError: it cannot be read.
    """
    return _parsed(what, text, yaml.safe_load)


def _parsed(what: str, text: str, reader: Callable[[str], Any]) -> Any:
    try:
        return reader(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{what} cannot be read: {' '.join(str(error).split())}.") from error
