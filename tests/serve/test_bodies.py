"""Bodies that never come whole."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from tfxlm.errors import InputError
from tfxlm.serve.bodies import read_body


def test_a_client_that_goes_away() -> None:
    messages = iter(
        [{"type": "http.request", "body": b'{"in', "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    request = Request({"type": "http", "headers": []}, receive)
    with pytest.raises(InputError, match=r"The client went away before its request was complete\."):
        asyncio.run(read_body(request, 100))
