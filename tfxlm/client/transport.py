"""What every transport offers, and the messages they share."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfxlm.client.json_tensors import BINARY_SUFFIX
from tfxlm.client.metadata import ModelMetadata, Signature, VersionStatus
from tfxlm.errors import ServingError


@dataclass(frozen=True)
class ModelRef:
    """A model, as asked for: the newest version unless a version or a version label is given."""

    name: str
    version: int | None = None
    label: str | None = None


class Transport(Protocol):
    """A way to reach a server; one class each for REST and gRPC."""

    def predict(
        self,
        model: ModelRef,
        signature_name: str,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Sends inputs to a signature; strings come back as object arrays of `bytes`."""

    def metadata(self, model: ModelRef, timeout: float) -> ModelMetadata:
        """Asks for the signatures of a model."""

    def status(self, model: ModelRef, timeout: float) -> tuple[VersionStatus, ...]:
        """Asks for the states of a model's versions."""

    def close(self) -> None:
        """Closes the connections."""


def unreachable(address: str, reason: str) -> ServingError:
    """Builds the error of a server that cannot be reached."""
    return ServingError(
        f"The server at {address} could not be reached: {reason}. Check that it runs and that host and port are "
        "right; `wait_until_available` waits for one that is starting.",
        "UNAVAILABLE",
    )


def too_slow(address: str, timeout: float) -> ServingError:
    """Builds the error of a server that did not answer in time."""
    return ServingError(
        f"The server at {address} did not answer within {timeout:g} seconds. Pass a longer `timeout`, or send fewer "
        "rows per request.",
        "DEADLINE_EXCEEDED",
    )


def is_loopback(host: str) -> bool:
    """Tells whether a host is this machine, which no proxy should stand before."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def decode_text(array: np.ndarray, name: str) -> np.ndarray:
    """Turns byte strings into text where they are text.

    Args:
        array: any array; only object arrays of `bytes` are touched.
        name: output name; a name that ends with `_bytes` holds binary data.

    Returns:
        Object array of `str`; of `bytes` when the output is binary or any entry is not UTF-8.
    """
    if array.dtype.kind != "O" or name.endswith(BINARY_SUFFIX):
        return array
    decoded = np.empty(array.size, dtype=object)
    try:
        decoded[:] = [entry.decode("utf-8") for entry in array.reshape(-1).tolist()]
    except UnicodeDecodeError:
        return array
    return decoded.reshape(array.shape)
