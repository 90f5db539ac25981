"""Request bodies: read in pieces, never more than the limit."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request

from tfxlm.errors import InputError


class TooLargeError(InputError):
    """A request body is larger than the server accepts."""


async def read_body(
    request: Request,
    max_bytes: int,
    hold: Callable[[int], None] = lambda size: None,
    in_thread: Callable[..., Awaitable[bytes]] = asyncio.to_thread,
) -> bytes:
    """Reads a body, compressed with gzip or not.

    Args:
        request: the request.
        max_bytes: largest body to accept, also after decompression.
        hold: is told the size of what comes, before it is kept, and may refuse it.
        in_thread: runs a function beside the event loop: a small body may take long to decompress.

    Raises:
        TooLargeError: the body is, or says it is, larger; nothing beyond the limit is read.
        InputError: the body is compressed in another way, or its compression is damaged.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > max_bytes:
                raise _too_large(max_bytes)
            hold(len(chunk))
            body += chunk
    except ClientDisconnect:
        raise InputError("The client went away before its request was complete.") from None
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "gzip":
        inflated = await in_thread(_decompress, bytes(body), max_bytes)
        hold(len(inflated))
        return inflated
    if encoding != "identity":
        raise InputError(f"The request body is encoded as {encoding!r}; expected gzip or no Content-Encoding.")
    return bytes(body)


def _decompress(body: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with a gzip header
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InputError(f"The request body says it is gzip, but cannot be decompressed: {error}.") from None
    if len(inflated) > max_bytes:
        raise _too_large(max_bytes)
    if not inflater.eof:
        raise InputError("The request body says it is gzip, but it is cut off.")
    if inflater.unused_data:
        raise InputError("The request body says it is gzip, but something stands behind its end; send one member.")
    return inflated


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The request body is larger than {max_bytes} bytes. Send fewer rows per request, or start the server with a "
        "larger max_request_bytes."
    )
