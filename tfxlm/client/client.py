"""The clients: one interface over REST and gRPC, which waits or is awaited."""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tfxlm.client.grpc_transport import AsyncGrpcTransport, GrpcTransport
from tfxlm.client.operations import ServingOperations
from tfxlm.client.rest import AsyncRestTransport, RestFormat, RestTransport
from tfxlm.client.retries import Retry
from tfxlm.client.steps import Awaiting, Blocking, Pause, Step
from tfxlm.client.text import TextOperations
from tfxlm.client.transport import AsyncTransport, Tls, Transport, checked_headers

_DEFAULT_RETRY = Retry()


class Client(TextOperations[Transport], ServingOperations[Transport], Blocking):
    """Asks a TensorFlow Serving server, or the embedded one, for predictions. Imports no TensorFlow.

    With both addresses, calls go over gRPC, and over REST when no gRPC server can be reached. A client keeps its
    connections open, and can be used from several threads.

    Args:
        rest: base URL of the REST interface, for example `"http://127.0.0.1:8501"`.
        grpc: address of the gRPC interface, for example `"127.0.0.1:8500"`.
        timeout: seconds to wait for an answer, unless a call says otherwise.
        rest_format: how REST requests are written: `"columns"`, one list per input, or `"rows"`, one object per row.
        retry: how calls are made again when the server is busy or out of reach; None for not at all.
        tls: how connections are encrypted: gRPC's, and those to an `https://` URL.
        headers: HTTP headers and gRPC metadata of every call, such as `{"authorization": "Bearer ..."}`.

    Raises:
        InputError: no address, or one that is none.

    Example:
        >>> from tfxlm import Client
        >>> client = Client(rest="http://127.0.0.1:8501", timeout=10.0)
        >>> client.predict("intent", {"input_ids": [[0, 14, 1]], "lengths": [3]})["scores"].shape  # doctest: +SKIP
        (1, 6)
        >>> client.classify_text("intent", "Play some jazz.", lang="en").label  # doctest: +SKIP
        'play_music'
        >>> client.close()
    """

    def __init__(
        self,
        rest: str | None = None,
        grpc: str | None = None,
        *,
        timeout: float = 60.0,
        rest_format: RestFormat = "columns",
        retry: Retry | None = _DEFAULT_RETRY,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        headers = checked_headers(headers)
        links: list[Transport] = [] if grpc is None else [GrpcTransport(grpc, tls, headers)]
        if rest is not None:
            links.append(RestTransport(rest, rest_format, tls, headers))
        super().__init__(links, timeout, retry)

    def close(self) -> None:
        """Closes the connections."""
        self._closed = True
        for link in self._links:
            link.close()

    def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return self._links[step.transport].send(step.call, step.deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(TextOperations[AsyncTransport], ServingOperations[AsyncTransport], Awaiting):
    """The client for an event loop: the methods of `Client`, each to be awaited. Many calls can be under way at once.

    It belongs to the event loop that makes its first call.

    Args:
        rest: base URL of the REST interface, for example `"http://127.0.0.1:8501"`.
        grpc: address of the gRPC interface, for example `"127.0.0.1:8500"`.
        timeout: seconds to wait for an answer, unless a call says otherwise.
        rest_format: how REST requests are written: `"columns"`, one list per input, or `"rows"`, one object per row.
        retry: how calls are made again when the server is busy or out of reach; None for not at all.
        tls: how connections are encrypted: gRPC's, and those to an `https://` URL.
        headers: HTTP headers and gRPC metadata of every call.

    Raises:
        InputError: no address, or one that is none.

    Example:
        >>> import asyncio
        >>> from tfxlm import AsyncClient
        >>> async def main(texts):
        ...     async with AsyncClient(grpc="127.0.0.1:8500") as client:
        ...         return await asyncio.gather(*(client.classify_text("intent", text, lang="en") for text in texts))
        >>> asyncio.run(main(["Play some jazz.", "Will it rain?"]))  # doctest: +SKIP
    """

    def __init__(
        self,
        rest: str | None = None,
        grpc: str | None = None,
        *,
        timeout: float = 60.0,
        rest_format: RestFormat = "columns",
        retry: Retry | None = _DEFAULT_RETRY,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        headers = checked_headers(headers)
        links: list[AsyncTransport] = [] if grpc is None else [AsyncGrpcTransport(grpc, tls, headers)]
        if rest is not None:
            links.append(AsyncRestTransport(rest, rest_format, tls, headers))
        super().__init__(links, timeout, retry)

    async def close(self) -> None:
        """Closes the connections."""
        self._closed = True
        for link in self._links:
            await link.close()

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self._links[step.transport].send(step.call, step.deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
