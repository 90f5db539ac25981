"""One form for calls that wait and calls that are awaited: operations as generators of what to do next.

An operation is written once, as a generator that yields `Send` and `Pause` and is given what came of them. A client
that waits does each step itself, one in an event loop awaits it; neither knows what the operation is about.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args, overload

from tfxlm.client.calls import Call
from tfxlm.client.retries import Deadline
from tfxlm.errors import ServingError

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Send:
    """Make a call; its result is sent back, its error thrown in.

    Args:
        transport: which of the client's transports makes it.
        call: the call.
        deadline: when it has to be answered.
    """

    transport: int
    call: Call
    deadline: Deadline


@dataclass(frozen=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


Step = Send | Pause
Steps = Generator[Step, Any, Result]


class Blocking:
    """A client that waits for each answer."""

    def _do(self, step: Step) -> Any:
        raise NotImplementedError

    def _run(self, steps: Steps[Result]) -> Result:
        """Does the steps of an operation."""
        step = _next(steps.send, None)
        while not isinstance(step, _Done):
            try:
                given = self._do(step)
            except ServingError as error:
                step = _next(steps.throw, error)
            else:
                step = _next(steps.send, given)
        return step.result

    @classmethod
    def _method(cls, operation: Callable[..., Steps[Result]]) -> Callable[..., Result]:
        @functools.wraps(operation)
        def method(client: Any, *args: Any, **options: Any) -> Result:
            return client._run(operation(client, *args, **options))

        return _signed(method, operation)


class Awaiting:
    """A client whose calls are awaited in an event loop."""

    async def _do(self, step: Step) -> Any:
        raise NotImplementedError

    async def _run(self, steps: Steps[Result]) -> Result:
        """Does the steps of an operation."""
        step = _next(steps.send, None)
        while not isinstance(step, _Done):
            try:
                given = await self._do(step)
            except ServingError as error:
                step = _next(steps.throw, error)
            else:
                step = _next(steps.send, given)
        return step.result

    @classmethod
    def _method(cls, operation: Callable[..., Steps[Result]]) -> Callable[..., Awaitable[Result]]:
        @functools.wraps(operation)
        async def method(client: Any, *args: Any, **options: Any) -> Result:
            return await client._run(operation(client, *args, **options))

        return _signed(method, operation)


@dataclass(frozen=True)
class _Done:
    result: Any


def _next(advance: Callable[[Any], Step], given: Any) -> Step | _Done:
    """Goes on to the next step of an operation, or to its result."""
    try:
        return advance(given)
    except StopIteration as end:
        return _Done(end.value)


def _signed(method: Any, operation: Callable[..., Any]) -> Any:
    """Gives a method the signature of its operation, with what comes of it in the end."""
    signature = inspect.signature(operation)
    result = get_args(signature.return_annotation)[-1]
    method.__signature__ = signature.replace(return_annotation=result)
    return method


class Operation(Generic[P, Result]):
    """A method of both kinds of clients, made from one generator function."""

    def __init__(self, operation: Callable[Concatenate[Any, P], Steps[Result]]) -> None:
        self._operation = operation
        self._methods: dict[type, Callable[..., Any]] = {}
        self.__doc__ = operation.__doc__

    @overload
    def __get__(self, client: Blocking, owner: type | None = None) -> Callable[P, Result]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type | None = None) -> Callable[P, Awaitable[Result]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, client: Any, owner: Any = None) -> Any:
        if owner not in self._methods:
            self._methods[owner] = owner._method(self._operation)
        return self._methods[owner].__get__(client, owner)

    def steps(self, client: Any, *args: P.args, **options: P.kwargs) -> Steps[Result]:
        """Returns the steps, for another operation to take."""
        return self._operation(client, *args, **options)
