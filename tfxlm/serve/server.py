"""The embedded server: both interfaces in a thread of their own."""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from tfxlm.errors import InputError, ServingError
from tfxlm.serve.grpc_service import grpc_handlers
from tfxlm.serve.listeners import listen_grpc, listen_rest
from tfxlm.serve.model_config import ServedModel, checked_models, read_model_config
from tfxlm.serve.models import ModelManager
from tfxlm.serve.polling import ConfigWatcher, Repeated
from tfxlm.serve.rest import rest_app
from tfxlm.serve.workers import WorkerPool

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_QUEUED = 256
GRACE_SECONDS = 5.0
FILE_SYSTEM_POLL_SECONDS = 1.0

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Server:
    """Serves exported models with TensorFlow Serving's REST and gRPC interface.

    Runs beside the caller, in a notebook or a test; `python -m tfxlm.serve` runs it alone.

    Args:
        models: name to serve under -> exported folder, such as `exported/intent` with the version `exported/intent/1`,
            whose highest version answers; or a `ServedModel`, which also says which versions are served, and their
            labels.
        model_config_file: a `models.config` of TensorFlow Serving in place of `models`.
        file_system_poll_wait_seconds: how often to look for versions that have come or gone; 0 for never.
        model_config_file_poll_wait_seconds: how often to look whether `model_config_file` has changed; 0 for never.
        host: address to listen on; `"0.0.0.0"` for all.
        rest_port: port of the REST interface; 0 for a free one.
        grpc_port: port of the gRPC interface; 0 for a free one.
        max_request_bytes: largest request body or message.
        num_threads: requests worked on at the same time; one per core by default.
        max_queued: requests that may wait for a thread; more are told to come again (429, RESOURCE_EXHAUSTED).

    Raises:
        InputError: an argument is out of range, or a model name cannot stand in a URL.

    Example:
        >>> from tfxlm import Client, Server, TFXLMForSequenceClassification, XLMConfig, export_model
        >>> model = TFXLMForSequenceClassification(XLMConfig(vocab_size=30, emb_dim=16, n_heads=2, n_layers=1))
        >>> folder = export_model(model, None, "exported/intent")
        >>> with Server({"intent": "exported/intent"}, rest_port=0, grpc_port=0) as server:
        ...     with Client(grpc=server.grpc_address) as client:
        ...         client.predict("intent", {"input_ids": [[0, 14, 1]], "lengths": [3]})["scores"].shape
        (1, 2)
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel | str | os.PathLike[str]] | None = None,
        *,
        model_config_file: str | os.PathLike[str] | None = None,
        file_system_poll_wait_seconds: float = FILE_SYSTEM_POLL_SECONDS,
        model_config_file_poll_wait_seconds: float = 0,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        num_threads: int | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        if model_config_file is not None and models:
            raise InputError("Give models or model_config_file, not both.")
        num_threads = (os.cpu_count() or 1) if num_threads is None else num_threads
        for argument, value, lowest, highest in (
            ("rest_port", rest_port, 0, 65535),
            ("grpc_port", grpc_port, 0, 65535),
            ("max_request_bytes", max_request_bytes, 1, 2**31 - 1),
            ("num_threads", num_threads, 1, 4096),
            ("max_queued", max_queued, 0, 2**31 - 1),
            ("file_system_poll_wait_seconds", file_system_poll_wait_seconds, 0, threading.TIMEOUT_MAX),
            ("model_config_file_poll_wait_seconds", model_config_file_poll_wait_seconds, 0, threading.TIMEOUT_MAX),
        ):
            if not lowest <= value <= highest:
                raise InputError(f"{argument} must be from {lowest} to {highest}, got {value}.")
        self._models = {} if model_config_file is not None else checked_models(models or {})
        self._config_file = model_config_file
        self._poll_seconds = (file_system_poll_wait_seconds, model_config_file_poll_wait_seconds)
        self._polling = contextlib.ExitStack()
        self._manager = ModelManager({})
        self._host = host
        self._wanted_ports = (rest_port, grpc_port)
        self._max_request_bytes = max_request_bytes
        self._num_threads = num_threads
        self._max_queued = max_queued
        self._thread: threading.Thread | None = None
        self._stopping: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ports: tuple[int, int] | None = None

    @property
    def rest_url(self) -> str:
        """Base URL of the REST interface.

        Raises:
            ServingError: the server does not run.
        """
        return f"http://{self._reachable_host()}:{self._running_ports()[0]}"

    @property
    def grpc_address(self) -> str:
        """Host and port of the gRPC interface.

        Raises:
            ServingError: the server does not run.
        """
        return f"{self._reachable_host()}:{self._running_ports()[1]}"

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models that are served now.

        Raises:
            ServingError: the server does not run.
        """
        self._running_ports()
        return self._manager.names

    def start(self) -> Self:
        """Loads the wanted versions of every model, then listens; returns once requests are answered.

        Raises:
            ConfigError: the model configuration cannot be read.
            ExportError: a model is missing or corrupt; nothing listens then.
            ServingError: the server runs already, or a port cannot be bound; nothing listens then.
        """
        if self._thread is not None:
            raise ServingError("The server runs already; stop() it first.", "FAILED_PRECONDITION")
        models = ModelManager(self._models if self._config_file is None else read_model_config(self._config_file))
        models.load()
        ready: Future[tuple[int, int]] = Future()
        thread = threading.Thread(target=self._run, args=(models, ready), name="tfxlm-serve-loop", daemon=True)
        thread.start()
        self._thread = thread
        try:
            self._ports = ready.result()
        except Exception:
            thread.join()
            self._thread = None
            raise
        self._manager = models
        self._polling.enter_context(Repeated(models.refresh, self._poll_seconds[0], "tfxlm-serve-versions"))
        if self._config_file is not None:
            watch = ConfigWatcher(models, self._config_file)
            self._polling.enter_context(Repeated(watch, self._poll_seconds[1], "tfxlm-serve-config"))
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Lets requests in progress finish, for a few seconds, and closes both ports. Does nothing if not running."""
        if self._thread is None or self._stopping is None:
            return
        self._polling.close()
        loop, stop = self._stopping
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()
        self._thread = self._stopping = self._ports = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _reachable_host(self) -> str:
        host = _WILDCARDS.get(self._host, self._host)
        return f"[{host}]" if ":" in host else host

    def _running_ports(self) -> tuple[int, int]:
        if self._ports is None:
            raise ServingError("The server does not run; start() it first.", "FAILED_PRECONDITION")
        return self._ports

    def _run(self, models: ModelManager, ready: "Future[tuple[int, int]]") -> None:
        """Body of the thread: an event loop until `stop`."""
        workers = WorkerPool(self._num_threads, self._max_queued)
        try:
            asyncio.run(self._serve(models, workers, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            workers.close()
            models.unload_all()

    async def _serve(self, models: ModelManager, workers: WorkerPool, ready: "Future[tuple[int, int]]") -> None:
        stop = asyncio.Event()
        self._stopping = (asyncio.get_running_loop(), stop)
        limit = self._max_request_bytes
        rest_port, grpc_port = self._wanted_ports
        app = rest_app(models, workers, limit)
        handlers = grpc_handlers(models, workers, limit)
        async with (
            listen_grpc(handlers, self._host, grpc_port, GRACE_SECONDS, limit) as bound_grpc_port,
            listen_rest(app, self._host, rest_port, GRACE_SECONDS) as bound_rest_port,
        ):
            ready.set_result((bound_rest_port, bound_grpc_port))
            await stop.wait()
