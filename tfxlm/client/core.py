"""What every client has: transports, retries, and what it knows of the models."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tfxlm.client.calls import Call, GetMetadata, ModelRef, Predict
from tfxlm.client.metadata import ModelMetadata
from tfxlm.client.retries import NO_RETRY, Deadline, Retry, checked_timeout
from tfxlm.client.steps import Pause, Send, Steps
from tfxlm.client.transport import AsyncTransport, Transport
from tfxlm.errors import InputError, ServingError

Link = TypeVar("Link", bound=Transport | AsyncTransport)


class Core(Generic[Link]):
    """The state of a client, and how it makes a call.

    Args:
        links: the transports, the preferred one first.
        timeout: seconds for a call that does not say its own.
        retry: when a call is made again; None for never.

    Raises:
        InputError: no transport, or an option out of range.
    """

    def __init__(self, links: list[Link], timeout: float, retry: Retry | None) -> None:
        self._timeout = checked_timeout(timeout)
        if retry is not None and not isinstance(retry, Retry):
            raise InputError(f"retry must be a Retry, such as Retry(attempts=3), or None; got {retry!r}.")
        self._retry = retry or NO_RETRY
        self._links = links
        if not links:
            raise InputError("Client needs an address: rest='http://127.0.0.1:8501', grpc='127.0.0.1:8500', or both.")
        self._metadata: dict[ModelRef, ModelMetadata] = {}
        self._closed = False

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self._timeout if timeout is None else timeout)

    def _ask(self, call: Call, deadline: Deadline) -> Steps[Any]:
        """Makes a call, and again while the server is busy or out of reach and there is time."""
        failures = 0
        while True:
            try:
                return (yield from self._ask_once(call, deadline))
            except ServingError as error:
                failures += 1
                wait = self._retry.wait_after(failures, error)
                if wait is None or not deadline.allows(wait):
                    raise
            yield Pause(wait)

    def _ask_once(self, call: Call, deadline: Deadline) -> Steps[Any]:
        """Makes a call over the first transport that reaches a server."""
        if self._closed:
            raise ServingError("The client is closed; make a new one.", "FAILED_PRECONDITION")
        able = [number for number, link in enumerate(self._links) if link.takes(call)]
        if not able:
            raise InputError(
                f"TensorFlow Serving has no {type(call).__name__} over REST. Give the client a gRPC address too: "
                "Client(grpc='127.0.0.1:8500')."
            )
        *others, last = able
        for number in others:
            try:
                return (yield Send(number, call, deadline))
            except ServingError as error:
                if error.code != "UNAVAILABLE":
                    raise
        return (yield Send(last, call, deadline))

    def _predict(self, ref: ModelRef, fit: Callable[[ModelMetadata], Predict], deadline: Deadline) -> Steps[Any]:
        """Makes a call that fits a model's signatures, which are asked for once.

        Before a refusal, by them or by the server, they are asked for again: the model may be newer.
        """
        known, failure = self._metadata.get(ref), None
        if known is not None:
            try:
                return (yield from self._ask(fit(known), deadline))
            except (InputError, ServingError) as error:
                if isinstance(error, ServingError) and error.code != "INVALID_ARGUMENT":
                    raise
                failure = error
        found = self._metadata[ref] = yield from self._ask(GetMetadata(ref), deadline)
        if failure is not None and found == known:
            raise failure
        return (yield from self._ask(fit(found), deadline))


def model_ref(model: str, version: int | None, label: str | None) -> ModelRef:
    """Checks how a model is named.

    Raises:
        InputError: no name, a version that is none, or both a version and a label.
    """
    if not isinstance(model, str) or not model:
        raise InputError(f"model must be the name under which a model is served, got {model!r}.")
    if version is not None and label is not None:
        raise InputError(f"Give a version or a label, not both; got version={version!r}, label={label!r}.")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**63):
        raise InputError(f"version must be a whole number of 0 or more, got {version!r}.")
    return ModelRef(model, version, label)
