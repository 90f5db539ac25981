"""When calls are made again: by hand for the waits, against servers for the rest."""

import email.utils
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2

from tests.client.stub_servers import HttpAnswer, HttpStub, grpc_stub
from tfxlm.client import Client, Retry, VersionStatus
from tfxlm.client.retries import Deadline, read_retry_after
from tfxlm.client.steps import Pause, Send
from tfxlm.errors import InputError, ServingError

BUSY = ServingError("busy", "UNAVAILABLE", is_transient=True)
FAST = Retry(attempts=3, initial=0.001)
STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}


def test_waits_grow_and_are_drawn_at_random() -> None:
    retry = Retry(attempts=6, initial=0.5, multiplier=3.0, maximum=4.0)
    for failures, longest in enumerate([0.5, 1.5, 4.0, 4.0, 4.0], start=1):
        waits = [retry.wait_after(failures, BUSY) for _ in range(200)]
        assert all(0 <= wait <= longest for wait in waits)
        assert max(waits) - min(waits) > longest / 2
    assert retry.wait_after(6, BUSY) is None
    asks = ServingError("busy", "RESOURCE_EXHAUSTED", is_transient=True, retry_after=7.0)
    assert all(7.0 <= retry.wait_after(1, asks) <= 7.5 for _ in range(50))
    assert retry.wait_after(1, ServingError("wrong", "INVALID_ARGUMENT")) is None


def steps_of(client: Client, errors: list[ServingError], timeout: float) -> tuple[list[Any], ServingError | None]:
    """Drives a call by hand: each attempt fails with the next error. Gives the steps, and what it fails with."""
    steps = client._ask("call", Deadline.after(timeout))
    seen, given = [], iter(errors)
    try:
        step = next(steps)
        while True:
            seen.append(step)
            step = steps.throw(next(given)) if isinstance(step, Send) else next(steps)
    except ServingError as error:
        return seen, error


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with Client(grpc="127.0.0.1:1", retry=Retry(attempts=4, initial=1.0)) as client:
        monkeypatch.setattr(client._links[0], "takes", lambda call: True)
        yield client


def test_attempts_and_pauses_take_turns(by_hand: Client) -> None:
    seen, error = steps_of(by_hand, [BUSY] * 4, 60)
    assert [type(step) for step in seen] == [Send, Pause, Send, Pause, Send, Pause, Send]
    assert error is BUSY
    assert len({step.deadline for step in seen if isinstance(step, Send)}) == 1


def test_errors_of_the_request_are_not_repeated(by_hand: Client) -> None:
    wrong = ServingError("no such model", "NOT_FOUND")
    assert steps_of(by_hand, [wrong], 60)[1] is wrong
    seen, error = steps_of(by_hand, [BUSY, wrong], 60)
    assert ([type(step) for step in seen], error) == ([Send, Pause, Send], wrong)


def test_no_wait_goes_beyond_the_deadline(by_hand: Client) -> None:
    late = ServingError("busy", "UNAVAILABLE", is_transient=True, retry_after=5.0)
    seen, error = steps_of(by_hand, [late], 4.9)
    assert ([type(step) for step in seen], error) == ([Send], late)


@pytest.mark.parametrize("code", [429, 502, 503])
def test_rest_comes_again(make: Any, code: int) -> None:
    left = [code, code]

    def answer(path: str, body: Any) -> HttpAnswer:
        return (left.pop(), {"Retry-After": "0"}, {"error": "busy"}) if left else (200, {}, STATUS)

    with HttpStub(answer).running() as stub, make(rest=stub.url, retry=FAST) as client:
        assert client.status("m") == (VersionStatus(1, "AVAILABLE"),)
        assert len(stub.requests) == 3
        # Over one connection, which stays open.
        assert len(stub.connections) == 1


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (400, {}, "INVALID_ARGUMENT"),
        (404, {}, "NOT_FOUND"),
        (413, {}, "RESOURCE_EXHAUSTED"),
        (500, {}, "INTERNAL"),
        (504, {}, "DEADLINE_EXCEEDED"),
        (503, {"Retry-After": "3600"}, "UNAVAILABLE"),
    ],
)
def test_rest_gives_up_at_once(make: Any, status: int, headers: dict[str, str], code: str) -> None:
    with (
        HttpStub(lambda path, body: (status, headers, {"error": "what the server said"})).running() as stub,
        make(rest=stub.url, retry=FAST, timeout=20.0) as client,
    ):
        with pytest.raises(ServingError, match=r"^what the server said$") as caught:
            client.status("m")
        assert (caught.value.code, len(stub.requests)) == (code, 1)
        assert caught.value.retry_after == (3600.0 if headers else None)


def test_no_retries_when_none_are_wanted(make: Any) -> None:
    with HttpStub(lambda path, body: (503, {}, {"error": "busy"})).running() as stub:
        with make(rest=stub.url, retry=None) as client, pytest.raises(ServingError, match="busy"):
            client.status("m")
        assert len(stub.requests) == 1


class Grumpy:
    """Fails with a code, and what it says of trying again, some times; then answers."""

    def __init__(self, times: int, code: grpc.StatusCode, details: str = "busy", pushback: str | None = None) -> None:
        self.left, self.asked, self.failure = times, 0, (code, details, pushback)

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked += 1
        if self.left:
            self.left -= 1
            code, details, pushback = self.failure
            if pushback is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
            context.abort(code, details)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state="AVAILABLE")
        return response


def ask_grumpy(make: Any, grumpy: Grumpy, **options: Any) -> Any:
    path = "tensorflow.serving.ModelService/GetModelStatus"
    methods = {path: (get_model_status_pb2.GetModelStatusRequest, grumpy)}
    with grpc_stub(methods) as address, make(grpc=address, **{"retry": FAST, **options}) as client:
        return client.status("m")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize("pushback", [None, "1"])
def test_grpc_comes_again(make: Any, code: grpc.StatusCode, pushback: str | None) -> None:
    grumpy = Grumpy(2, code, pushback=pushback)
    assert ask_grumpy(make, grumpy) == (VersionStatus(1, "AVAILABLE"),)
    assert grumpy.asked == 3


@pytest.mark.parametrize(
    ("code", "details", "pushback"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "wrong", None),
        (grpc.StatusCode.INTERNAL, "wrong", None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5 vs. 4)", None),
        (grpc.StatusCode.UNAVAILABLE, "do not come again", "-1"),
        (grpc.StatusCode.UNAVAILABLE, "do not come again", "never"),
        (grpc.StatusCode.UNAVAILABLE, "much later", "3600000"),
    ],
)
def test_grpc_gives_up_at_once(make: Any, code: grpc.StatusCode, details: str, pushback: str | None) -> None:
    grumpy = Grumpy(9, code, details, pushback)
    with pytest.raises(ServingError) as caught:
        ask_grumpy(make, grumpy)
    assert (str(caught.value), caught.value.code, grumpy.asked) == (details, code.name, 1)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert read_retry_after("7") == 7.0
    assert read_retry_after(" 0 ") == 0.0
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < read_retry_after(in_a_minute) <= 60
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    for nonsense in (None, "", "soon", "-1", "1.5", "٣"):
        assert read_retry_after(nonsense) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, r"Retry: attempts must be a whole number of 1 or more, got 0"),
        ({"attempts": True}, r"Retry: attempts must be a whole number of 1 or more, got True"),
        ({"initial": -1}, r"Retry: initial must be a number of 0 or more, got -1"),
        ({"multiplier": 0.5}, r"Retry: multiplier must be a number of 1 or more, got 0.5"),
        ({"maximum": float("inf")}, r"Retry: maximum must be a number of 0 or more, got inf"),
    ],
)
def test_retries_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Retry(**options)
    with pytest.raises(InputError, match=r"retry must be a Retry, such as Retry\(attempts=3\), or None; got 3"):
        Client(rest="http://x", retry=3)
