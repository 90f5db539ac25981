"""The two ports: opening them, and closing them once requests in progress have their answers."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

import grpc
import uvicorn
from starlette.applications import Starlette

from tfxlm.errors import ServingError
from tfxlm.serve.ssl_config import SSLConfig

_START_POLL_SECONDS = 0.01

# Longer than clients keep idle connections: who closes one must not be the server, while a request is on its way.
_KEEP_ALIVE_SECONDS = 75

# How many connections may wait to be accepted.
_BACKLOG = 2048

# Connections at the same time, below the number of files that systems allow a process; what comes then gets 503. Each
# has one request at a time, so that so many wait for the event loop at most.
_MAX_CONNECTIONS = 900

# How long a call may wait until the event loop takes it in: one in each of its turns. Nothing here counts or refuses
# what is not in yet; gRPC itself gives up what waits longer, with the status CANCELLED. grpcio 1.85 has no way to
# RESOURCE_EXHAUSTED instead: that status is fixed, and `grpc.server.max_pending_requests` refuses nothing here.
_MAX_WAIT_SECONDS = 2


class Listener(Protocol):
    """One port."""

    async def start(self) -> int:
        """Listens; returns the port.

        Raises:
            ServingError: the port cannot be bound.
        """

    async def stop(self, grace: float) -> None:
        """Takes no more connections, and ends when those in progress have, or when the seconds are over."""


class RestListener:
    """Serves an application over HTTP.

    Args:
        app: the application.
        host: address to bind.
        port: port to bind; 0 for a free one.
        tls: key and certificates, or None for plain HTTP.
    """

    def __init__(self, app: Starlette, host: str, port: int, tls: SSLConfig | None) -> None:
        self._host, self._port = host, port
        config = uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,
            log_config=None,
            ws="none",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=_MAX_CONNECTIONS,
        )
        config.load()
        # uvicorn makes a context of files only; ours is made of text.
        config.ssl = None if tls is None else tls.context()
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> int:
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._socket = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
            # asyncio sets it only for sockets that name their protocol, and connections have what the listener has.
            # Without it the end of an answer waits for the client's acknowledgement of its beginning, 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError) as error:
            raise _cannot_bind("REST", self._host, self._port, str(error)) from error
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(_START_POLL_SECONDS)
        return self._socket.getsockname()[1]

    async def stop(self, grace: float) -> None:
        if self._task is None or self._socket is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        await self._task
        self._socket.close()


class GrpcListener:
    """Serves gRPC handlers.

    Args:
        handlers: the services.
        host: address to bind.
        port: port to bind; 0 for a free one.
        tls: key and certificates, or None for plain gRPC.
        max_request_bytes: largest message to accept; gRPC answers RESOURCE_EXHAUSTED to larger ones.
        max_calls: calls in progress, beyond which gRPC answers RESOURCE_EXHAUSTED before their messages are looked at.
    """

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        host: str,
        port: int,
        tls: SSLConfig | None,
        max_request_bytes: int,
        max_calls: int,
    ) -> None:
        self._handlers, self._host, self._port, self._tls = tuple(handlers), host, port, tls
        self._max_request_bytes, self._max_calls = max_request_bytes, max_calls
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", self._max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.server_max_unrequested_time_in_server", _MAX_WAIT_SECONDS),
                # Without this a second server on the same port would share it silently.
                ("grpc.so_reuseport", 0),
            ),
            maximum_concurrent_rpcs=self._max_calls,
        )
        server.add_generic_rpc_handlers(self._handlers)
        address = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        try:
            bound = (
                server.add_insecure_port(address)
                if self._tls is None
                else server.add_secure_port(address, self._tls.credentials())
            )
        except RuntimeError as error:
            raise _cannot_bind("gRPC", self._host, self._port, str(error)) from error
        self._server = server
        await server.start()
        return bound

    async def stop(self, grace: float) -> None:
        if self._server is not None:
            await self._server.stop(grace)


def _cannot_bind(interface: str, host: str, port: int, reason: str) -> ServingError:
    return ServingError(
        f"The {interface} interface cannot listen on {host} port {port}: {reason}. Choose another port, or 0 for a "
        "free one.",
        "UNAVAILABLE",
    )
