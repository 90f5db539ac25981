"""Which requests are let in, and how long they may take."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from tfxlm.errors import ServingError

# How long nothing comes before a server that stops takes it that nothing is on its way.
_QUIET_SECONDS, _QUIET_TURNS = 0.05, 5


# Is told how many bytes a request becomes before it does, and may refuse that.
Hold = Callable[[int], None]


def hold_any(size: int) -> None:
    """Refuses nothing."""


class Place:
    """One request's place in the server."""

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._left = False
        self.held = 0

    def hold(self, size: int) -> None:
        """Counts bytes that the request holds in memory; from any thread.

        Raises:
            ServingError: all requests together hold too many (`RESOURCE_EXHAUSTED`), or the request has left its place
                meanwhile (`CANCELLED`).
        """
        with self._gate.counting:
            if self._left:
                raise ServingError("Nobody waits for this answer any more.", "CANCELLED")
            if self._gate.held + size > self._gate.max_bytes:
                raise self._gate.refusal(f"requests of {self._gate.held} bytes")
            self._gate.held += size
            self.held += size

    def leave(self) -> None:
        """Holds nothing any more."""
        with self._gate.counting:
            self._left = True
            self._gate.held -= self.held


class Gate:
    """Lets so many requests in, and tells more of them to come again. Used from the event loop, but for `Place.hold`.

    Args:
        max_requests: requests inside at the same time, those that wait among them.
        max_waiting: how many of them wait, for the message.
        max_bytes: what they may hold together.

    Attributes:
        inside: requests that have a place.
        held: bytes that they hold.
        come: requests that ever came, refused or not.
        counting: is held while `held` changes.
    """

    def __init__(self, max_requests: int, max_waiting: int, max_bytes: int) -> None:
        self._max_requests, self._max_waiting = max_requests, max_waiting
        self.max_bytes = max_bytes
        self.inside = 0
        self.held = 0
        self.come = 0
        self.counting = threading.Lock()

    def refusal(self, what: str) -> ServingError:
        """Makes the error of a server that has enough to do."""
        return ServingError(f"The server is busy: {what} are waiting already. Try again later.", "RESOURCE_EXHAUSTED")

    @contextlib.contextmanager
    def entered(self) -> Iterator[Place]:
        """Takes a place inside the block.

        Raises:
            ServingError: there is none (`RESOURCE_EXHAUSTED`).
        """
        self.come += 1
        if self.inside >= self._max_requests:
            raise self.refusal(f"{self._max_waiting} requests")
        place = Place(self)
        self.inside += 1
        try:
            yield place
        finally:
            self.inside -= 1
            place.leave()

    async def settled(self, seconds: float) -> None:
        """Waits until no more requests come: those that were sent have been received. So many seconds at most."""
        end = time.monotonic() + seconds
        come = -1
        while self.come > come and time.monotonic() < end:
            come = self.come
            # Several turns of the event loop, each of which takes in one call of gRPC.
            for _ in range(_QUIET_TURNS):
                await asyncio.sleep(_QUIET_SECONDS / _QUIET_TURNS)


@contextlib.asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Ends what is inside the block after some time; what has no time left never begins.

    Raises:
        ServingError: the time is over (`DEADLINE_EXCEEDED`).
    """
    try:
        async with asyncio.timeout(seconds):
            if seconds <= 0:
                raise TimeoutError
            yield
    except TimeoutError:
        raise ServingError(
            f"The request was not answered within its {max(seconds, 0):.3g} seconds.", "DEADLINE_EXCEEDED"
        ) from None
