"""Bodies that never come whole, or become larger than they are."""

import asyncio
import gzip
import threading
import zlib
from typing import Any

import pytest
from starlette.requests import Request

from tfxlm.errors import InputError
from tfxlm.serve.bodies import TooLargeError, read_body


def compressed(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "headers": [(b"content-encoding", b"gzip")]}, receive)


def test_a_client_that_goes_away() -> None:
    messages = iter(
        [{"type": "http.request", "body": b'{"in', "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    request = Request({"type": "http", "headers": []}, receive)
    with pytest.raises(InputError, match=r"The client went away before its request was complete\."):
        asyncio.run(read_body(request, 100))


def test_compressed_bodies_are_inflated_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    held: list[int] = []
    inflater = zlib.decompressobj

    def spy(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return inflater(*arguments)

    monkeypatch.setattr(zlib, "decompressobj", spy)
    body = gzip.compress(bytes(1000))
    assert asyncio.run(read_body(compressed(body), 1000, held.append)) == bytes(1000)
    assert sum(held) == len(body) + 1000
    with pytest.raises(TooLargeError, match=r"^The request body is larger than 999 bytes\."):
        asyncio.run(read_body(compressed(body), 999))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_what_stands_behind_a_compressed_body_is_not_passed_over() -> None:
    body = gzip.compress(b"{}")
    with pytest.raises(InputError, match=r"is gzip, but something stands behind its end; send one member\."):
        asyncio.run(read_body(compressed(body + body), 100))
