"""Which models a server serves: folders, versions and labels, from arguments or from TensorFlow Serving's file."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from tfxlm.errors import ConfigError, InputError
from tfxlm.serve.text_files import read_message

PLATFORM = "tensorflow"

_EXAMPLE = (
    f'model_config_list {{ config {{ name: "intent" base_path: "/models/intent" model_platform: "{PLATFORM}" }} }}'
)


@dataclass(frozen=True)
class VersionPolicy:
    """Which of a model's versions are served: the newest ones, some by number, or all.

    Args:
        latest: how many of the newest; None for no such limit.
        specific: the version numbers; None for no such limit.

    Raises:
        InputError: `latest` or `specific` asks for no version.
    """

    latest: int | None = None
    specific: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.latest is not None and self.latest < 1:
            raise InputError(f"latest must be at least 1, got {self.latest}.")
        if self.specific is not None and (not self.specific or min(self.specific) < 0):
            raise InputError(f"specific must name versions, whole numbers of 0 or more; got {sorted(self.specific)}.")

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Returns the versions to serve of those there are."""
        found = {version for version in versions if self.specific is None or version in self.specific}
        return found if self.latest is None else set(sorted(found)[-self.latest :])


NEWEST = VersionPolicy(latest=1)
ALL = VersionPolicy()


@dataclass(frozen=True)
class ServedModel:
    """One model of a server.

    Args:
        path: its folder, such as `exported/intent` with the version `exported/intent/1`.
        policy: which versions are served.
        labels: version number by label, such as `{"stable": 1, "canary": 2}`; a labelled version must be available
            before the label is.
    """

    path: str | os.PathLike[str]
    policy: VersionPolicy = NEWEST
    labels: Mapping[str, int] = field(default_factory=dict)


def checked_models(models: Mapping[str, ServedModel | str | os.PathLike[str]]) -> dict[str, ServedModel]:
    """Returns models by the name they are served under.

    Args:
        models: models, or only their folders.

    Raises:
        InputError: there is none, or a name or label cannot stand in a URL.
    """
    if not models:
        raise InputError("Server needs at least one model, such as {'intent': 'exported/intent'}.")
    served = {name: it if isinstance(it, ServedModel) else ServedModel(it) for name, it in models.items()}
    for kind, names in (("model name", served), ("version label", [n for it in served.values() for n in it.labels])):
        for name in names:
            if not name or "/" in name or ":" in name:
                raise InputError(f"A {kind} must be non-empty and hold no '/' and no ':', got {name!r}.")
    return served


def read_model_config(file: str | os.PathLike[str]) -> dict[str, ServedModel]:
    """Reads a `models.config` of TensorFlow Serving: a ModelServerConfig in protocol buffer text format.

    Args:
        file: the file.

    Returns:
        Models by the name they are served under.

    Raises:
        ConfigError: the file cannot be read, is malformed, or asks for what this server cannot do; the message names
            the file and the place in it.
    """
    config = model_server_config_pb2.ModelServerConfig()
    return models_of(read_message(file, config, "model configuration", _EXAMPLE), str(file))


def models_of(config: Any, source: str) -> dict[str, ServedModel]:
    """Returns the models of a ModelServerConfig, by the name they are served under.

    Args:
        config: the message.
        source: where it comes from, for error messages.

    Raises:
        ConfigError: it asks for what this server cannot do.
    """
    if config.WhichOneof("config") != "model_config_list" or not config.model_config_list.config:
        raise ConfigError(f"{source} names no model; expected a model_config_list with one config for each model.")
    models: dict[str, ServedModel] = {}
    try:
        for entry in config.model_config_list.config:
            if entry.name in models:
                raise ConfigError(f"the name {entry.name!r} is given twice. Give each model a name of its own.")
            models[entry.name] = _served_model(entry)
        return checked_models(models)
    except (ConfigError, InputError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _served_model(entry: Any) -> ServedModel:
    platform = entry.model_platform or PLATFORM
    if platform != PLATFORM:
        raise ConfigError(f'model {entry.name!r} has model_platform "{platform}"; only "{PLATFORM}" can be served.')
    if not os.path.isabs(entry.base_path):
        raise ConfigError(
            f"model {entry.name!r} has base_path {entry.base_path!r}; expected the absolute path of an exported "
            "folder, as TensorFlow Serving does."
        )
    return ServedModel(entry.base_path, _policy(entry), dict(entry.version_labels))


def _policy(entry: Any) -> VersionPolicy:
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return ALL
    if kind == "specific":
        if not policy.specific.versions:
            raise ConfigError(f"model {entry.name!r} asks for specific versions, but names none.")
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    # Without a number TensorFlow Serving takes the newest one.
    return VersionPolicy(latest=max(1, policy.latest.num_versions))
