"""Deadlines, and when a call that failed is made again."""

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Self

from tfxlm.errors import InputError, ServingError

# What is left of a deadline is never nothing: to some transports that would mean "no limit".
_SHORTEST_SECONDS = 0.001


def checked_timeout(timeout: float) -> float:
    """Returns a timeout as a float.

    Raises:
        InputError: it is not a number above 0.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise InputError(f"timeout must be a number of seconds above 0, got {timeout!r}.")
    return float(timeout)


@dataclass(frozen=True)
class Deadline:
    """When a call has to be answered, all that it takes together.

    Args:
        seconds: how long it was given.
        end: when they are over, by the monotonic clock.
    """

    seconds: float
    end: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Returns the deadline in a number of seconds from now.

        Raises:
            InputError: it is not a number above 0.
        """
        seconds = checked_timeout(seconds)
        return cls(seconds, time.monotonic() + seconds)

    def left(self) -> float:
        """Returns the seconds that are left, at least a thousandth."""
        return max(self.end - time.monotonic(), _SHORTEST_SECONDS)

    def allows(self, wait: float) -> bool:
        """Tells whether there is time for something after a wait."""
        return time.monotonic() + wait < self.end


@dataclass(frozen=True)
class Retry:
    """How often, and after what waits, a call is made again when the server is busy or out of reach.

    Only errors that may pass are met so (`ServingError.is_transient`): codes UNAVAILABLE and RESOURCE_EXHAUSTED, HTTP
    statuses 429, 502 and 503. The waits grow, and each is drawn at random from nothing to its length, so that clients
    that failed together do not come back together. A server that says when to come again (`Retry-After`, or gRPC's
    `grpc-retry-pushback-ms`) is given at least that long. No wait goes beyond the call's deadline: the error is raised
    at once instead.

    Args:
        attempts: how often a call is made in all; 1 for no retries.
        initial: longest first wait, in seconds.
        multiplier: how much longer each wait is than the one before.
        maximum: longest wait, in seconds.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> from tfxlm.client import Client, Retry
        >>> client = Client(grpc="127.0.0.1:8500", retry=Retry(attempts=3, initial=0.2))
        >>> client.close()
    """

    attempts: int = 5
    initial: float = 0.1
    multiplier: float = 2.0
    maximum: float = 10.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise InputError(f"Retry: attempts must be a whole number of 1 or more, got {self.attempts!r}.")
        for name, lowest in (("initial", 0), ("multiplier", 1), ("maximum", 0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not lowest <= value < float("inf"):
                raise InputError(f"Retry: {name} must be a number of {lowest} or more, got {value!r}.")

    def wait_after(self, failures: int, error: ServingError) -> float | None:
        """Returns the seconds to wait before the next attempt, or None if there is none.

        Args:
            failures: how many attempts have failed.
            error: what the last one ran into.
        """
        if not error.is_transient or failures >= self.attempts:
            return None
        longest = min(self.maximum, self.initial * self.multiplier ** (failures - 1))
        return (error.retry_after or 0.0) + random.uniform(0.0, longest)


NO_RETRY = Retry(attempts=1)


def read_retry_after(value: str | None) -> float | None:
    """Reads a `Retry-After` header: seconds, or a date; returns the seconds from now, None if it says neither."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(moment - time.time(), 0.0)
