"""Opening and closing the two ports, each as an asynchronous context."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import grpc
import uvicorn
from starlette.applications import Starlette

from tfxlm.errors import ServingError

_START_POLL_SECONDS = 0.01

# How many connections may wait to be accepted.
_BACKLOG = 2048


@contextlib.asynccontextmanager
async def listen_rest(app: Starlette, host: str, port: int, grace: float) -> AsyncIterator[int]:
    """Serves an application over HTTP.

    Args:
        app: the application.
        host: address to bind.
        port: port to bind; 0 for a free one.
        grace: seconds that requests in progress get when the context ends.

    Yields:
        The port.

    Raises:
        ServingError: the port cannot be bound.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise _cannot_bind("REST", host, port, str(error)) from error
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(_START_POLL_SECONDS)
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        bound.close()


@contextlib.asynccontextmanager
async def listen_grpc(
    handlers: Sequence[grpc.GenericRpcHandler], host: str, port: int, grace: float, max_request_bytes: int
) -> AsyncIterator[int]:
    """Serves gRPC handlers.

    Args:
        handlers: the services.
        host: address to bind.
        port: port to bind; 0 for a free one.
        grace: seconds that calls in progress get when the context ends.
        max_request_bytes: largest message to accept; gRPC answers RESOURCE_EXHAUSTED to larger ones.

    Yields:
        The port.

    Raises:
        ServingError: the port cannot be bound.
    """
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Without this a second server on the same port would share it silently.
            ("grpc.so_reuseport", 0),
        )
    )
    server.add_generic_rpc_handlers(tuple(handlers))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise _cannot_bind("gRPC", host, port, str(error)) from error
    try:
        await server.start()
        yield bound
    finally:
        await server.stop(grace)


def _cannot_bind(interface: str, host: str, port: int, reason: str) -> ServingError:
    return ServingError(
        f"The {interface} interface cannot listen on {host} port {port}: {reason}. Choose another port, or 0 for a "
        "free one.",
        "UNAVAILABLE",
    )
