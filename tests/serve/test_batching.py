"""Requests that are answered together: which, when, and that no answer changes by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.conftest import CLASSIFY
from tfxlm.client import Client
from tfxlm.client.dtypes import DTYPES
from tfxlm.client.metadata import Signature, TensorSpec
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import BatchingParameters, Server
from tfxlm.serve.batching import Batcher
from tfxlm.serve.joining import Joining, join, split

TYPES = {dtype.name: dtype for dtype in DTYPES}


def specs(**shapes: tuple[str, tuple[int | None, ...] | None]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(TYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}


ROWS = Signature(specs(x=("float32", (None,))), specs(y=("float32", (None,))))
IDS = Signature(
    specs(input_ids=("int32", (None, None)), lengths=("int32", (None,))), specs(scores=("float32", (None, 3)))
)
TOKENS = Signature(IDS.inputs, specs(label=("string", (None, None))))
MASKS = Signature(specs(text=("string", (None,))), specs(tokens=("string", (None, None, 5))))


class Model:
    """Doubles rows, refuses those that are negative, and notes what it is asked; waits while it is held."""

    name = "model"

    def __init__(self, signature: Signature = ROWS) -> None:
        self.given, self.unjoinable = signature, set[str]()
        self.asked: list[Any] = []
        self.free = threading.Event()
        self.entered = threading.Semaphore(0)

    def signature(self, name: str) -> Signature:
        return self.given

    def predict(self, servable: Model, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert servable is self
        array = inputs.get("x", inputs.get("input_ids"))
        self.asked.append(array.tolist())
        self.entered.release()
        assert self.free.wait(30)
        if (array < 0).any():
            raise InputError(f"negative in {array.tolist()}")
        if name == "sum":
            return {"y": array.sum().reshape(1)}
        return {"y": 2 * array.reshape(len(array), -1).sum(axis=1)}


Make = Callable[..., tuple[Model, Batcher, Callable[..., "Future[Any]"]]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Model, Batcher]] = []

    def make_one(signature: Signature = ROWS, **parameters: Any) -> Any:
        model = Model(signature)
        batcher = Batcher(BatchingParameters(**{"num_batch_threads": 1, **parameters}), model.predict)
        made.append((model, batcher))

        def submit(*rows: float, name: str = "f") -> Future[Any]:
            return batcher.submit(model, name, {"x": np.array(rows, np.float32)})

        return model, batcher, submit

    yield make_one
    for model, batcher in made:
        model.free.set()
        batcher.close()


def result(future: Future[Any]) -> list[float]:
    return future.result(30)["y"].tolist()


def test_what_waits_is_answered_together_and_each_gets_its_own(make: Make) -> None:
    model, _, submit = make()
    first = submit(1)
    model.entered.acquire()
    waiting = [submit(2, 3), submit(4), submit(5, 6, 7)]
    model.free.set()
    assert result(first) == [2]
    assert [result(future) for future in waiting] == [[4, 6], [8], [10, 12, 14]]
    assert model.asked == [[1], [2, 3, 4, 5, 6, 7]]


def test_a_batch_has_so_many_rows_and_a_larger_request_goes_alone(make: Make) -> None:
    model, _, submit = make(max_batch_size=3)
    submit(0)
    model.entered.acquire()
    waiting = [submit(1, 2), submit(3), submit(4, 5), submit(6, 7), submit(8, 9, 10, 11)]
    model.free.set()
    assert [result(future) for future in waiting] == [[2, 4], [6], [8, 10], [12, 14], [16, 18, 20, 22]]
    assert sorted(model.asked[1:]) == [[1, 2, 3], [4, 5], [6, 7], [8, 9, 10, 11]]


def test_a_request_waits_for_others_until_its_time_is_over_or_the_batch_is_full(make: Make) -> None:
    model, _, submit = make(max_batch_size=2, batch_timeout_micros=60_000_000)
    model.free.set()
    assert [result(future) for future in (submit(1), submit(2))] == [[2], [4]]
    assert model.asked == [[1, 2]]
    model, _, submit = make(batch_timeout_micros=20_000)
    model.free.set()
    assert result(submit(5)) == [10]  # nobody else comes


def test_allowed_sizes_are_kept_with_copies_of_a_row(make: Make) -> None:
    model, _, submit = make(max_batch_size=8, allowed_batch_sizes=(2, 8))
    model.free.set()
    assert result(submit(3)) == [6]
    assert result(submit(1, 2, 3)) == [2, 4, 6]
    assert model.asked == [[3, 3], [1, 2, 3, 1, 1, 1, 1, 1]]


def test_a_bad_row_fails_its_own_request_only(make: Make) -> None:
    model, _, submit = make()
    submit(0)
    model.entered.acquire()
    good, bad, other = submit(1), submit(-2), submit(3)
    model.free.set()
    assert (result(good), result(other)) == ([2], [6])
    with pytest.raises(InputError, match=r"^negative in \[-2\.0\]$"):
        bad.result(30)
    assert model.asked[1:] == [[1, -2, 3], [1], [-2], [3]]


def test_what_is_cancelled_is_not_run(make: Make) -> None:
    model, _, submit = make()
    submit(0)
    model.entered.acquire()
    gone, stays = submit(1), submit(2)
    assert gone.cancel()
    model.free.set()
    assert result(stays) == [4]
    assert model.asked[1:] == [[2]]


def test_what_is_cancelled_gives_its_place_to_others_at_once(make: Make) -> None:
    model, batcher, submit = make(max_batch_size=2, max_enqueued_batches=2)
    submit(0)
    model.entered.acquire()
    waiting = [submit(1, 2), submit(3), submit(4, 5, 6)]
    with pytest.raises(ServingError, match=r"^The server is busy: 2 batches"):
        submit(7, 8)
    assert waiting[0].cancel()
    assert batcher.waiting == 2
    stays = submit(9, 10)  # in the place of the first batch
    assert waiting[2].cancel()
    assert waiting[1].cancel()
    assert stays.cancel()
    assert batcher.waiting == 0
    waiting = [submit(11), submit(12), submit(13, 14)]
    model.free.set()
    assert [result(future) for future in waiting] == [[22], [24], [26, 28]]
    assert model.asked == [[0], [11, 12], [13, 14]]


def test_only_so_many_batches_wait(make: Make) -> None:
    model, _, submit = make(max_batch_size=1, max_enqueued_batches=2)
    submit(0)
    model.entered.acquire()
    waiting = [submit(1), submit(2)]
    with pytest.raises(ServingError, match=r"^The server is busy: 2 batches for .* wait already\. Try again") as caught:
        submit(3)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    model.free.set()
    assert [result(future) for future in waiting] == [[2], [4]]


def test_signatures_have_turns_and_are_not_mixed(make: Make) -> None:
    model, _, submit = make(max_batch_size=1)
    submit(0)
    model.entered.acquire()
    waiting = [submit(1), submit(2), submit(10, name="g")]
    model.free.set()
    assert [result(future) for future in waiting] == [[2], [4], [20]]
    assert model.asked[1:] == [[1], [10], [2]]


def test_answers_that_are_not_one_for_each_row_are_found_out(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    model, _, submit = make()
    submit(0, name="sum")
    model.entered.acquire()
    waiting = [submit(1, 2, name="sum"), submit(3, 4, name="sum")]
    model.free.set()
    assert [result(future) for future in waiting] == [[3], [7]]
    assert "answers of 'sum' are not one for each row; its requests go alone" in caplog.text
    assert model.unjoinable == {"sum"}
    assert model.asked == [[0], [1, 2, 3, 4], [1, 2], [3, 4]]


def test_a_lone_request_that_cannot_be_joined_is_run_once(make: Make) -> None:
    model, _, submit = make(max_batch_size=4, allowed_batch_sizes=(2, 4))
    model.free.set()
    assert result(submit(1, 2, name="sum")) == [3]
    assert result(submit(3, 4, 5, name="sum")) == [12]
    assert model.asked == [[1, 2], [3, 4, 5]]
    model, _, submit = make(max_batch_size=4, allowed_batch_sizes=(2, 4))
    model.free.set()
    assert result(submit(3, 4, 5, name="sum")) == [12]  # not with the copy of a row
    assert model.asked == [[3, 4, 5, 3], [3, 4, 5]]


def test_what_waits_when_it_is_closed_is_still_answered(make: Make) -> None:
    model, batcher, submit = make(batch_timeout_micros=60_000_000)
    waiting = submit(1)
    batcher.close()
    model.free.set()
    assert result(waiting) == [2]
    with pytest.raises(ServingError, match=r"^The server is stopping\.") as caught:
        submit(2)
    assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("signature", "possible"),
    [
        (ROWS, True),
        (IDS, True),
        (TOKENS, True),
        (MASKS, False),  # a row's answer is as long as that of the row with the most masks
        (Signature(specs(x=("float32", ())), specs(y=("float32", ()))), False),
        (Signature(specs(x=("float32", (None, 2))), specs(y=("float32", (2,)))), False),
        (Signature(specs(x=("float32", (3,))), specs(y=("float32", (None,)))), False),
        (Signature(specs(x=("float32", None)), specs(y=("float32", (None,)))), False),
        (Signature({}, specs(y=("float32", (None,)))), False),
    ],
)
def test_which_signatures_are_joined(signature: Signature, possible: bool) -> None:
    assert Joining(signature, pad=True).possible is possible


def ids(length: int, rows: int = 1) -> dict[str, np.ndarray]:
    return {"input_ids": np.full((rows, length), 7, np.int32), "lengths": np.full(rows, length, np.int32)}


def test_which_requests_are_joined() -> None:
    for pad in (False, True):
        joining = Joining(IDS, pad)
        assert (joining.likeness(ids(3)) == joining.likeness(ids(4))) is pad
        assert joining.likeness(ids(3)) == joining.likeness(ids(3, rows=2))
    assert Joining(TOKENS, True).likeness(ids(3)) != Joining(TOKENS, True).likeness(ids(4))
    no_counts = Signature(specs(input_ids=("int32", (None, None))), IDS.outputs)
    inputs = {"input_ids": np.zeros((1, 3), np.int32)}
    assert Joining(no_counts, True).likeness(inputs) == ((3,),)
    assert Joining(IDS, True).rows(ids(3, rows=2)) == 2
    assert Joining(IDS, True).rows({**ids(3, rows=2), "lengths": np.ones(1, np.int32)}) == 0
    assert Joining(ROWS, True).rows({"x": np.zeros((), np.float32)}) == 0


def test_rows_are_filled_up_with_the_first_entry() -> None:
    one = {"words": np.array([[b"a", b"b"]], object), "lengths": np.array([2], np.int32)}
    two = {"words": np.array([[b"c", b"d", b"e"]], object), "lengths": np.array([3], np.int32)}
    none = {"words": np.empty((1, 0), object), "lengths": np.array([0], np.int32)}
    joined = join([one, two, none], 4)
    expected = [[b"a", b"b", b"a"], [b"c", b"d", b"e"], [b"", b"", b""], [b"a", b"b", b"a"]]
    assert joined["words"].tolist() == expected
    assert joined["lengths"].tolist() == [2, 3, 0, 2]


def test_answers_are_taken_apart() -> None:
    outputs = {"a": np.arange(4), "b": np.arange(8).reshape(4, 2)}
    parts = split(outputs, [1, 2], 4)
    assert [{name: array.tolist() for name, array in part.items()} for part in parts] == [
        {"a": [0], "b": [[0, 1]]},
        {"a": [1, 2], "b": [[2, 3], [4, 5]]},
    ]
    assert split({**outputs, "c": np.arange(3)}, [1, 2], 4) is None
    assert split({"a": np.array(1)}, [1, 2], 4) is None


def test_a_server_that_joins_answers_as_one_that_does_not(tiny_folder: Path, server: Server) -> None:
    generator = np.random.default_rng(3)
    requests = []
    for number in range(40):
        rows, length = 1 + number % 3, 1 + number % 5
        lengths = generator.integers(1, length + 1, rows)
        arrays = {name: generator.integers(0, most, (rows, length)) for name, most in (("input_ids", 10), ("langs", 2))}
        requests.append({**arrays, "lengths": lengths})
    bad = {**CLASSIFY, "input_ids": [[1, 2], [3, 99]]}
    batching = BatchingParameters(
        max_batch_size=16, batch_timeout_micros=5000, pad_variable_length_inputs=True, allowed_batch_sizes=(4, 16)
    )
    with (
        Server({"tiny": tiny_folder}, rest_port=0, grpc_port=0, batching=batching) as joining,
        Client(grpc=joining.grpc_address) as over_grpc,
        Client(rest=joining.rest_url) as over_rest,
        Client(grpc=server.grpc_address) as plain,
        ThreadPoolExecutor(12) as pool,
    ):
        clients = (over_grpc, over_rest)
        answers = [pool.submit(clients[n % 2].predict, "tiny", request) for n, request in enumerate(requests)]
        refused = [pool.submit(client.predict, "tiny", bad) for client in clients]
        for request, answer in zip(requests, answers, strict=True):
            expected = plain.predict("tiny", request)
            np.testing.assert_allclose(answer.result(30)["scores"], expected["scores"], atol=1e-6)
            assert answer.result(30)["label"].tolist() == expected["label"].tolist()
        for answer in refused:
            with pytest.raises(ServingError, match="input_ids must be below 10"):
                answer.result(30)
        assert over_rest.predict("tiny", {"pairs": [[1, 2]]}, signature_name="uneven")["columns"].tolist() == [1, 2]
