"""Small servers that answer what a test tells them to, over HTTP and gRPC, in plain text or encrypted."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

# Status, headers, and body of an answer.
HttpAnswer = tuple[int, Mapping[str, str], Any]


@dataclass
class HttpStub:
    """Answers each request with what `answer` says, and keeps what came.

    Args:
        answer: from path and JSON body to an answer.
    """

    answer: Callable[[str, Any], HttpAnswer]
    requests: list[tuple[str, Any, Mapping[str, str]]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    url: str = ""

    @contextlib.contextmanager
    def running(self, context: ssl.SSLContext | None = None) -> Iterator["HttpStub"]:
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub.connections.add(self.client_address)
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.loads(raw) if raw else None
                stub.requests.append((self.path, body, dict(self.headers)))
                status, headers, answer = stub.answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            self.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield self
            server.shutdown()
            thread.join()


GrpcHandler = Callable[[Any, grpc.ServicerContext], Any]


@contextlib.contextmanager
def grpc_stub(
    methods: Mapping[str, tuple[type, GrpcHandler]], credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serves methods, by path, each with its request class and handler; gives the address."""
    handlers: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
    for path, (request_class, handler) in methods.items():
        service, _, method = path.rpartition("/")
        handlers.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
            handler,
            request_deserializer=request_class.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    server = grpc.server(ThreadPoolExecutor(4))
    for service, named in handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, named),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
