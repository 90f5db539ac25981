"""Dynamic batching: requests that wait for the same signature are answered together."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from tfxlm.errors import ServingError
from tfxlm.serve.batching_parameters import BatchingParameters
from tfxlm.serve.joining import Joining, Likeness, join, split
from tfxlm.serve.servable import Servable

_LOG = logging.getLogger("tfxlm.serve")

Answers = dict[str, np.ndarray]
Predict = Callable[[Servable, str, Mapping[str, np.ndarray]], Answers]


class _Key(NamedTuple):
    """What requests of one batch have in common; `alone` is the request itself where it travels with no other."""

    servable: Servable
    signature_name: str
    likeness: Likeness
    alone: int | None


@dataclass(frozen=True, eq=False)
class _Task:
    """One request."""

    inputs: Mapping[str, np.ndarray]
    rows: int
    future: "Future[Answers]" = field(default_factory=Future)


@dataclass(eq=False)
class _Batch:
    """Requests that will be answered together."""

    opened: float
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0

    def add(self, task: _Task) -> None:
        self.tasks.append(task)
        self.rows += task.rows

    def drop(self, task: _Task) -> None:
        self.tasks.remove(task)
        self.rows -= task.rows


class Batcher:
    """Joins requests and answers them in threads of its own.

    A request travels with others of the same version and signature where that changes no answer (`joining.Joining`);
    otherwise alone. Where joined requests fail, each is tried alone, so that one bad row fails its own request only.

    Args:
        parameters: sizes and times.
        predict: answers one call: version, signature, inputs.
        observe: is told the model's name and the rows of each batch that is run.
    """

    def __init__(
        self, parameters: BatchingParameters, predict: Predict, observe: Callable[[str, int], None] = lambda *_: None
    ) -> None:
        self._parameters, self._predict, self._observe = parameters, predict, observe
        self._queues: dict[_Key, deque[_Batch]] = {}
        self._condition = threading.Condition()
        self._closed = False
        # Not those of an executor: Python waits for such threads when it ends, however long a graph takes.
        for number in range(parameters.num_batch_threads):
            threading.Thread(target=self._work, name=f"tfxlm-serve-batch-{number}", daemon=True).start()

    def submit(self, servable: Servable, signature_name: str, inputs: Mapping[str, np.ndarray]) -> "Future[Answers]":
        """Queues a request; one whose future is cancelled before its turn leaves the queue at once, and is never run.

        Raises:
            ServingError: too many batches wait already (`RESOURCE_EXHAUSTED`), or the server stops (`UNAVAILABLE`).
        """
        joining = Joining(servable.signature(signature_name), self._parameters.pad_variable_length_inputs)
        rows = 0 if signature_name in servable.unjoinable else joining.rows(inputs)
        task = _Task(inputs, rows)
        together = 0 < rows <= self._parameters.max_batch_size
        key = _Key(
            servable, signature_name, joining.likeness(inputs) if together else None, None if together else id(task)
        )
        with self._condition:
            if self._closed:
                raise ServingError("The server is stopping.", "UNAVAILABLE")
            queue = self._queues.setdefault(key, deque())
            if not queue or queue[-1].rows + rows > self._parameters.max_batch_size:
                if len(queue) >= self._parameters.max_enqueued_batches:
                    raise ServingError(
                        f"The server is busy: {len(queue)} batches for {servable} wait already. Try again later.",
                        "RESOURCE_EXHAUSTED",
                    )
                queue.append(_Batch(time.monotonic()))
            queue[-1].add(task)
            self._condition.notify()
        task.future.add_done_callback(partial(self._drop, key, task))
        return task.future

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        with self._condition:
            return sum(len(batch.tasks) for queue in self._queues.values() for batch in queue)

    def close(self) -> None:
        """Takes no more requests; what waits is still answered, and the threads end then."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _drop(self, key: _Key, task: _Task, future: "Future[Answers]") -> None:
        """Takes a request that was cancelled out of its queue, so that its place is another's."""
        if not future.cancelled():
            return
        with self._condition:
            queue = self._queues.get(key, deque())
            batch = next((batch for batch in queue if task in batch.tasks), None)
            if batch is None:
                return  # its turn has come meanwhile
            batch.drop(task)
            if not batch.tasks:
                queue.remove(batch)
            if not queue:
                del self._queues[key]

    def _work(self) -> None:
        while (work := self._next()) is not None:
            self._run(*work)
            del work  # what it holds goes before the next wait

    def _next(self) -> tuple[_Key, _Batch] | None:
        """Waits for a batch that is full or has waited long enough; each signature has its turn."""
        with self._condition:
            while self._queues or not self._closed:
                now, due = time.monotonic(), None
                for key, queue in self._queues.items():
                    left = queue[0].opened + self._parameters.batch_timeout_micros / 1e6 - now
                    full = len(queue) > 1 or queue[0].rows >= self._parameters.max_batch_size
                    if full or left <= 0 or key.alone is not None or self._closed:
                        batch = queue.popleft()
                        del self._queues[key]
                        if queue:
                            self._queues[key] = queue  # behind the others
                        return key, batch
                    due = left if due is None else min(due, left)
                self._condition.wait(due)
            return None

    def _run(self, key: _Key, batch: _Batch) -> None:
        tasks = [task for task in batch.tasks if task.future.set_running_or_notify_cancel()]
        if len(tasks) > 1 and self._run_together(key, tasks):
            return
        for task in tasks:
            try:
                task.future.set_result(self._answer(key, task))
            except BaseException as error:  # it is the request's, whatever it is
                task.future.set_exception(error)

    def _run_together(self, key: _Key, tasks: list[_Task]) -> bool:
        if key.signature_name in key.servable.unjoinable:  # since they came
            return False
        try:
            _, answers = self._joined(key, tasks)
        except Exception:  # one of the requests is at fault, perhaps: each will say so on its own
            return False
        for task, answer in zip(tasks, answers, strict=False):  # there are none where they cannot be taken apart
            task.future.set_result(answer)
        return bool(answers)

    def _answer(self, key: _Key, task: _Task) -> Answers:
        """Answers one request."""
        if key.alone is None and key.signature_name not in key.servable.unjoinable:
            outputs, answers = self._joined(key, [task])
            if answers:
                return answers[0]
            if self._parameters.rows_to_run(task.rows) == task.rows:
                return outputs  # no copies of its rows were among them
        return self._predict(key.servable, key.signature_name, task.inputs)

    def _joined(self, key: _Key, tasks: list[_Task]) -> tuple[Answers, list[Answers]]:
        """Asks the model for several requests; returns its answer, and each one's part unless it has none."""
        servable, signature_name = key.servable, key.signature_name
        sizes = [task.rows for task in tasks]
        rows = self._parameters.rows_to_run(sum(sizes))
        self._observe(servable.name, sum(sizes))
        outputs = self._predict(servable, signature_name, join([task.inputs for task in tasks], rows))
        answers = split(outputs, sizes, rows)
        if answers is None:
            # Nothing in the signature said so.
            servable.unjoinable.add(signature_name)
            _LOG.warning("%s: answers of %r are not one for each row; its requests go alone", servable, signature_name)
        return outputs, answers or []
