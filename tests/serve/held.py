"""Models whose calls wait until a test lets them go, and what a server says of its requests."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tfxlm.serve import Server
from tfxlm.serve.servable import Servable


class Held:
    """Calls of models that wait inside a `with` block until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.leave, self.calls = threading.Semaphore(0), threading.Event(), []
        predict = Servable.predict

        def slow(servable: Servable, signature_name: str, *arguments: Any) -> dict[str, np.ndarray]:
            self.calls.append(signature_name)
            self.entered.release()
            self.leave.wait(30)
            return predict(servable, signature_name, *arguments)

        monkeypatch.setattr(Servable, "predict", slow)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave.set()

    def wait_for(self, calls: int) -> None:
        for _ in range(calls):
            assert self.entered.acquire(timeout=30)


def in_progress(server: Server) -> float:
    text = httpx.get(f"{server.rest_url}/monitoring/prometheus/metrics").text
    return float(re.search(r"^tfxlm_requests_in_progress (\S+)$", text, re.M)[1])


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
