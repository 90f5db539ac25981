"""TensorFlow Serving's REST interface, from the client's side."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tfxlm.client.calls import Call
from tfxlm.client.rest_messages import ENDPOINTS, RestFormat, model_path, read_answer, read_result, write_body
from tfxlm.client.retries import Deadline
from tfxlm.client.transport import Tls, is_loopback, too_slow, unreachable
from tfxlm.errors import InputError, ServingError

# Nobody waits for a connection of somebody else's: a call's deadline runs from when it is made.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


class _Rest:
    """What both forms share: the address and its checks, requests, and what answers and errors mean."""

    def __init__(self, url: str, form: RestFormat, tls: Tls | None, headers: Mapping[str, str]) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InputError(f"rest must be a URL such as 'http://127.0.0.1:8501', got {url!r}: {error}.") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
            raise InputError(f"rest must be a URL such as 'http://127.0.0.1:8501', got {url!r}.")
        if form not in ("columns", "rows"):
            raise InputError(f"rest_format must be 'columns' or 'rows', got {form!r}.")
        if tls is not None and parsed.scheme != "https":
            raise InputError(f"tls is for encrypted connections; rest={url!r} is none. Begin it with https://.")
        self.address = url.rstrip("/")
        self._form = form
        self._extensions = {"sni_hostname": tls.server_name} if tls is not None and tls.server_name else {}
        self._options: dict[str, Any] = {
            "base_url": self.address,
            "trust_env": not is_loopback(parsed.host),
            "headers": headers,
            "limits": _LIMITS,
            "verify": _ssl_context(tls) if tls is not None else True,
        }

    def takes(self, call: Call) -> bool:
        """Tells whether the protocol has such a call; see `Transport`."""
        return type(call) in ENDPOINTS

    def _request(self, http: httpx.Client | httpx.AsyncClient, call: Any, deadline: Deadline) -> httpx.Request:
        body = write_body(call, self._form)
        return http.build_request(
            "GET" if body is None else "POST",
            model_path(call.model) + ENDPOINTS[type(call)].suffix,
            content=body,
            headers=None if body is None else {"Content-Type": "application/json"},
            timeout=deadline.left(),
            extensions=self._extensions,
        )

    def _read(self, call: Call, response: httpx.Response, content: bytes) -> Any:
        answer = read_answer(response.status_code, content, response.headers.get("Retry-After"), self.address)
        return read_result(call, answer, self.address)

    def _failure(self, error: Exception, deadline: Deadline) -> ServingError:
        if isinstance(error, (httpx.TimeoutException, TimeoutError)):
            return too_slow(self.address, deadline)
        return unreachable(self.address, str(error) or type(error).__name__)


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.root_certificates)
        if tls.client_certificate is not None:
            context.load_cert_chain(tls.client_certificate, tls.client_key)
    except ssl.SSLError as error:
        raise InputError(f"Tls: the certificates cannot be read: {error}. Expected PEM files.") from None
    return context


class RestTransport(_Rest):
    """Talks to one server over HTTP.

    Args:
        url: base address, for example `"http://127.0.0.1:8501"`.
        form: `"columns"` or `"rows"`, how predict requests are written.
        tls: how the connection is checked, for https.
        headers: what goes with every request.

    Raises:
        InputError: the address is not an HTTP URL.
    """

    def __init__(
        self,
        url: str,
        form: RestFormat = "columns",
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(url, form, tls, headers or {})
        self._http = httpx.Client(**self._options)

    def send(self, call: Call, deadline: Deadline) -> Any:
        """Makes a call; see `Transport`. The deadline covers it as a whole, which httpx's timeouts do not."""
        request = self._request(self._http, call, deadline)
        try:
            response = self._http.send(request, stream=True)
            try:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > deadline.end:
                        raise too_slow(self.address, deadline)
            finally:
                response.close()
        except (httpx.HTTPError, ssl.SSLError) as error:  # httpx lets those pass that come while it reads
            raise self._failure(error, deadline) from error
        return self._read(call, response, bytes(content))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


class AsyncRestTransport(_Rest):
    """`RestTransport` for an event loop."""

    def __init__(
        self,
        url: str,
        form: RestFormat = "columns",
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(url, form, tls, headers or {})
        self._http = httpx.AsyncClient(**self._options)

    async def send(self, call: Call, deadline: Deadline) -> Any:
        """Makes a call; see `Transport`."""
        request = self._request(self._http, call, deadline)
        try:
            async with asyncio.timeout(deadline.left()):
                response = await self._http.send(request)
        except (httpx.HTTPError, ssl.SSLError, TimeoutError) as error:
            raise self._failure(error, deadline) from error
        return self._read(call, response, response.content)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()
