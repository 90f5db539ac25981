"""What every transport offers, and the errors they share."""

import ipaddress
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfxlm.client.calls import Call
from tfxlm.client.calls import ModelRef as ModelRef
from tfxlm.client.json_tensors import BINARY_SUFFIX
from tfxlm.client.retries import Deadline
from tfxlm.errors import InputError, ServingError


@dataclass(frozen=True)
class Tls:
    """What an encrypted connection is checked with.

    Args:
        root_certificates: PEM file of the authorities that may vouch for the server; by default the known ones.
        client_certificate: PEM file of this client's certificate chain, for servers that want one.
        client_key: PEM file of its private key.
        server_name: name that the server's certificate must have, where that is not the address.

    Raises:
        InputError: a file is not there, or a certificate comes without its key.

    Example:
        >>> from tfxlm.client import Client, Tls
        >>> client = Client(grpc="models.example.org:443", tls=Tls())
        >>> client.close()
    """

    root_certificates: str | Path | None = None
    client_certificate: str | Path | None = None
    client_key: str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            raise InputError("Tls: client_certificate and client_key go together; give both or neither.")
        for name in ("root_certificates", "client_certificate", "client_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise InputError(f"Tls: {name} must be a PEM file, and there is none at {str(path)!r}.")


class Transport(Protocol):
    """A way to reach a server that waits for each answer."""

    address: str

    def takes(self, call: Call) -> bool:
        """Tells whether the protocol has such a call."""

    def send(self, call: Call, deadline: Deadline) -> Any:
        """Makes a call; strings come back as object arrays of `bytes`."""

    def close(self) -> None:
        """Closes the connections."""


class AsyncTransport(Protocol):
    """The same for an event loop."""

    address: str

    def takes(self, call: Call) -> bool:
        """Tells whether the protocol has such a call."""

    def send(self, call: Call, deadline: Deadline) -> Awaitable[Any]:
        """Makes a call; strings come back as object arrays of `bytes`."""

    def close(self) -> Awaitable[None]:
        """Closes the connections."""


def unreachable(address: str, reason: str, retry_after: float | None = None) -> ServingError:
    """Builds the error of a server that cannot be reached."""
    return ServingError(
        f"The server at {address} could not be reached: {reason}. Check that it runs and that host and port are "
        "right; `wait_until_available` waits for one that is starting.",
        "UNAVAILABLE",
        is_transient=True,
        retry_after=retry_after,
    )


def too_slow(address: str, deadline: Deadline) -> ServingError:
    """Builds the error of a server that did not answer in time."""
    return ServingError(
        f"The server at {address} did not answer within {deadline.seconds:g} seconds. Pass a longer `timeout`, or send "
        "fewer rows per request.",
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


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Returns headers with names in lower case, as gRPC wants them.

    Raises:
        InputError: a name or a value is not printable ASCII text.
    """
    checked = {}
    for name, value in (headers or {}).items():
        if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (name, value)):
            raise InputError(f"headers must map names to values, both printable ASCII text; got {name!r}: {value!r}.")
        checked[name.lower()] = value
    return checked
