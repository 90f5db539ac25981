"""The configuration class that a ``config.json`` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfxlm.configs.base import CONFIG_FILE, PreTrainedConfig, read_config
from tfxlm.configs.families import family_of
from tfxlm.configs.xlm import XLMConfig
from tfxlm.configs.xlm_roberta import XLMRobertaConfig, XLMRobertaXLConfig
from tfxlm.errors import ArgumentError, ConfigError

CONFIG_CLASSES: Mapping[str, type[PreTrainedConfig]] = {
    config_class.model_type: config_class for config_class in (XLMConfig, XLMRobertaConfig, XLMRobertaXLConfig)
}


def config_class_for(values: Mapping[str, Any]) -> type[PreTrainedConfig]:
    """Returns the configuration class for the content of a ``config.json``, by `architectures`, then `model_type`.

    Raises:
        ConfigError: when the file is of no family that there is a class for.
    """
    model_type, evidence = family_of(values)
    found = CONFIG_CLASSES.get(str(model_type))
    if found is None:
        known = ", ".join(f"{name!r} ({config_class.__name__})" for name, config_class in CONFIG_CLASSES.items())
        raise ConfigError(
            f"{values.get('name_or_path') or CONFIG_FILE} has {evidence}, for which there is no configuration class. "
            f"There is one for {known}. If the model is one of these, call from_pretrained of that class."
        )
    return found


class AutoConfig:
    """Makes the configuration that a checkpoint asks for: `XLMConfig`, `XLMRobertaConfig` or `XLMRobertaXLConfig`.

    Example:
        >>> from tfxlm import AutoConfig
        >>> type(AutoConfig.for_model("xlm-roberta", vocab_size=100)).__name__
        'XLMRobertaConfig'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentError(
            "AutoConfig chooses a class and has no instances. Use AutoConfig.from_pretrained(name), or "
            'AutoConfig.for_model("xlm-roberta", ...).'
        )

    @classmethod
    def for_model(cls, model_type: str, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """Makes a configuration of a family, from the arguments of its class.

        Raises:
            ConfigError: for an unknown `model_type`, or an invalid value.
        """
        return config_class_for({"model_type": model_type})(*args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> PreTrainedConfig:
        """Reads ``config.json`` from a folder or the Hugging Face hub, whatever the family.

        Args:
            pretrained_model_name_or_path: folder, or name of a hub repository.
            **options: see `PreTrainedConfig.from_pretrained`, which also lists what is raised.

        Returns:
            An instance of the class that `config_class_for` names.
        """
        values = read_config(pretrained_model_name_or_path, options)
        return config_class_for(values).from_dict(values, **options)
