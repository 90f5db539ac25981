"""gRPC's own health check, `grpc.health.v1`: asked once, or watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from tfxlm.errors import ServingError
from tfxlm.serve.config_messages import CLASSES
from tfxlm.serve.models import ModelManager

_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")

# Calls that watch at the same time; each lasts as long as its client's connection.
MAX_WATCHERS = 256

# How often to look whether a status has changed, for each that watches.
_LOOK_SECONDS = 0.5


def check_health(models: ModelManager, request: Any) -> Any:
    """Answers a HealthCheckRequest.

    Raises:
        ServingError: there is no such service (`NOT_FOUND`).
    """
    if request.service not in _SERVICES:
        raise ServingError(f"There is no service {request.service!r} here.", "NOT_FOUND")
    return _response(_SERVING if models.is_ready else _NOT_SERVING)


class Watching:
    """Tells clients the status of a service at once, and then whenever it has changed. Used from the event loop only.

    Args:
        models: whose status it is.
        stop: is set when the server stops, which everyone is told and which ends all calls.
    """

    def __init__(self, models: ModelManager, stop: asyncio.Event) -> None:
        self._models, self._stop = models, stop
        self._watchers = 0

    async def watch(self, service: str, tell: Callable[[Any], Awaitable[None]]) -> None:
        """Tells one client, until it goes away.

        Args:
            service: the service. One that is not here is no error: it may come, as far as the client knows.
            tell: sends a HealthCheckResponse.

        Raises:
            ServingError: the server stops (`UNAVAILABLE`), or too many watch already (`RESOURCE_EXHAUSTED`).
        """
        if self._watchers >= MAX_WATCHERS:
            raise ServingError(
                f"{MAX_WATCHERS} clients watch this server already. Ask with Check, or try again later.",
                "RESOURCE_EXHAUSTED",
            )
        self._watchers += 1
        told = None
        try:
            while True:
                stopping = self._stop.is_set()
                status = self._status(service, stopping)
                if status != told:
                    await tell(_response(status))
                    told = status
                if stopping:
                    raise ServingError("The server is stopping.", "UNAVAILABLE")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._stop.wait()
        finally:
            self._watchers -= 1

    def _status(self, service: str, stopping: bool) -> int:
        if service not in _SERVICES:
            return _SERVICE_UNKNOWN
        return _SERVING if self._models.is_ready and not stopping else _NOT_SERVING


def _response(status: int) -> Any:
    return CLASSES["HealthCheckResponse"](status=status)
