"""TensorFlow Serving's gRPC interface, from the client's side."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from tfxlm.client.calls import Call
from tfxlm.client.grpc_messages import METHODS
from tfxlm.client.retries import Deadline
from tfxlm.client.transport import Tls, is_loopback, too_slow, unreachable
from tfxlm.errors import InputError, ServingError

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is starting should be found soon after it listens; the defaults wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A name with several addresses, as of a headless service on Kubernetes, is several servers: take turns.
    ("grpc.lb_policy_name", "round_robin"),
)

# What gRPC itself says, on either side, of a message that no repetition makes smaller.
_TOO_LARGE = "larger than max"


class _Grpc:
    """What both forms share: the address and its checks, requests, and what answers and errors mean."""

    def __init__(self, address: str, tls: Tls | None, headers: Mapping[str, str]) -> None:
        host, _, port = str(address).rpartition(":")
        if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) or "/" in host:
            raise InputError(f"grpc must be host:port such as '127.0.0.1:8500', got {address!r}.")
        self.address = address
        self._tls = tls
        self._headers = tuple(headers.items())
        self._options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.enable_http_proxy", 0 if is_loopback(host) else 1)]
        if tls is not None and tls.server_name is not None:
            self._options.append(("grpc.ssl_target_name_override", tls.server_name))
        self._methods: dict[str, Any] = {}

    def takes(self, call: Call) -> bool:
        """Tells whether the protocol has such a call; see `Transport`."""
        return type(call) in METHODS

    def _channel(self, library: Any) -> Any:
        """Opens a channel of `grpc` or of `grpc.aio`."""
        if self._tls is None:
            return library.insecure_channel(self.address, options=self._options)
        files = (self._tls.root_certificates, self._tls.client_key, self._tls.client_certificate)
        credentials = grpc.ssl_channel_credentials(
            *(None if path is None else Path(path).read_bytes() for path in files)
        )
        return library.secure_channel(self.address, credentials, options=self._options)

    def _started(self, channel: Any, call: Call, deadline: Deadline) -> Any:
        """Starts a call on a channel; returns bytes, or what to await for them."""
        method = METHODS[type(call)]
        if method.path not in self._methods:
            self._methods[method.path] = channel.unary_unary(method.path)
        request = method.request(call).SerializeToString()
        return self._methods[method.path](request, timeout=deadline.left(), metadata=self._headers)

    def _read(self, call: Call, answer: bytes) -> Any:
        method = METHODS[type(call)]
        try:
            return method.read(method.response_class.FromString(answer))
        except (DecodeError, InputError) as error:
            raise ServingError(f"The answer from {self.address} cannot be read: {error}", "UNKNOWN") from error

    def _failure(self, error: grpc.RpcError, deadline: Deadline) -> ServingError:
        code, details = error.code().name, error.details() or ""
        if code == "DEADLINE_EXCEEDED":
            return too_slow(self.address, deadline)
        pushback = _pushback_seconds(error)
        if code == "UNAVAILABLE" and pushback is None:
            return unreachable(self.address, details)
        # What gRPC says of a call that no server has looked at in time; our own cancelling raises no such error.
        transient = code in ("UNAVAILABLE", "CANCELLED") or (code == "RESOURCE_EXHAUSTED" and _TOO_LARGE not in details)
        return ServingError(
            details or f"gRPC status {code}",
            code,
            is_transient=transient and (pushback is None or pushback >= 0),
            retry_after=pushback if pushback is not None and pushback >= 0 else None,
        )


def _pushback_seconds(error: Any) -> float | None:
    """Reads what the server says of trying again: seconds, below 0 for never, None for nothing."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms":
            with contextlib.suppress(ValueError):
                return int(value) / 1000
            return -1.0  # gRPC's rule for what is no number
    return None


class GrpcTransport(_Grpc):
    """Talks to one server over gRPC.

    Args:
        address: host and port, for example `"127.0.0.1:8500"`.
        tls: how the connection is encrypted; None for plain text.
        headers: metadata that goes with every call.

    Raises:
        InputError: the address is not of the form host:port.
    """

    def __init__(self, address: str, tls: Tls | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(address, tls, headers or {})
        self._open = self._channel(grpc)

    def send(self, call: Call, deadline: Deadline) -> Any:
        """Makes a call; see `Transport`."""
        try:
            answer = self._started(self._open, call, deadline)
        except grpc.RpcError as error:
            raise self._failure(error, deadline) from error
        return self._read(call, answer)

    def close(self) -> None:
        """Closes the channel."""
        self._open.close()


class AsyncGrpcTransport(_Grpc):
    """`GrpcTransport` for an event loop; the channel opens with the first call, in the loop that makes it."""

    def __init__(self, address: str, tls: Tls | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(address, tls, headers or {})
        self._open: Any = None

    async def send(self, call: Call, deadline: Deadline) -> Any:
        """Makes a call; see `Transport`."""
        if self._open is None:
            self._open = self._channel(grpc.aio)
        try:
            answer = await self._started(self._open, call, deadline)
        except grpc.RpcError as error:
            raise self._failure(error, deadline) from error
        return self._read(call, answer)

    async def close(self) -> None:
        """Closes the channel."""
        if self._open is not None:
            await self._open.close()
