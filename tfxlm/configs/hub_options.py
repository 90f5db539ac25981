"""The options of `from_pretrained` that say where files come from, under the names that `transformers` has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxlm.errors import ArgumentError

# What `from_pretrained` methods hand to the hub.
HUB_OPTIONS = ("revision", "token", "subfolder", "local_files_only", "cache_dir", "force_download")

# Taken and without effect: downloads resume by themselves, and nothing here runs code from a repository.
_NO_EFFECT = ("resume_download", "trust_remote_code", "mirror", "_from_auto", "_from_pipeline", "_commit_hash")

# Options that are understood with some values only: those values beside None, and what to do about others.
Limits = Mapping[str, tuple[tuple[Any, ...], str]]

_LIMITS: Limits = {"proxies": (({},), "Set the environment variable HTTPS_PROXY instead.")}


def pop_hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options about files out of `options`.

    Returns:
        Those of `HUB_OPTIONS` that were given, and not as None.

    Raises:
        ArgumentError: when one cannot be followed, or two contradict each other.
    """
    hub = {name: value for name in HUB_OPTIONS if (value := options.pop(name, None)) is not None}
    old_token = options.pop("use_auth_token", None)
    if None not in (old_token, hub.get("token")):
        raise ArgumentError("token and use_auth_token are one option. Give token alone.")
    if old_token is not None:
        hub["token"] = old_token
    for name in _NO_EFFECT:
        options.pop(name, None)
    pop_limited(options, _LIMITS)
    return hub


def pop_limited(options: dict[str, Any], limits: Limits, owner: str = "from_pretrained") -> None:
    """Takes out of `options`, those of `owner`, what is understood with some values only.

    Raises:
        ArgumentError: when an option has another value; it says the way out.
    """
    for name, (accepted, way_out) in limits.items():
        value = options.pop(name, None)
        # Arrays and the like are compared with nothing.
        if value is not None and not any(type(value) is type(known) and value == known for known in accepted):
            raise ArgumentError(f"{name}={value!r} is not something that {owner} can do. {way_out}")
