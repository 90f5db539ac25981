"""The embedded server: both interfaces in a thread of their own."""

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from tfxlm.errors import InputError, ServingError
from tfxlm.serve.answering import Answering, Limits
from tfxlm.serve.batching_parameters import BatchingParameters
from tfxlm.serve.grpc_service import grpc_handlers
from tfxlm.serve.health import MAX_WATCHERS
from tfxlm.serve.listeners import GrpcListener, Listener, RestListener
from tfxlm.serve.metrics import Metrics, Monitoring
from tfxlm.serve.model_config import ServedModel, checked_models, read_model_config
from tfxlm.serve.models import ModelManager
from tfxlm.serve.polling import ConfigWatcher, Repeated
from tfxlm.serve.rest import rest_app
from tfxlm.serve.ssl_config import SSLConfig
from tfxlm.serve.workers import WorkerPool

MAX_REQUEST_BYTES = 64 * 1024 * 1024
# The last in the queue waits for all before it: many would have no answer while it is of use.
MAX_QUEUED = 64
REQUEST_SECONDS = 30.0
# Less than the thirty seconds that Kubernetes gives a container.
DRAIN_SECONDS = 25.0
FILE_SYSTEM_POLL_SECONDS = 1.0

# What stopping may take beyond the requests in progress, before what still runs is left behind.
STOP_MARGIN_SECONDS = 5.0

# What stopping may take until what is on its way has come.
_SETTLE_SECONDS = 1.0

# Calls that ask about models or are being refused, beside those that have a place.
_QUESTIONS = 64

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}

_LOG = logging.getLogger("tfxlm.serve")


class Server:
    """Serves exported models with TensorFlow Serving's REST and gRPC interface.

    Runs beside the caller, in a notebook or a test; `tfxlm serve` runs it alone.

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
        request_timeout_seconds: how long a request may take, unless its client allows less.
        drain_seconds: how long `stop` waits for requests in progress.
        batching: how requests are answered together; None for each on its own.
        ssl_config: key and certificates of both interfaces; None for plain HTTP and gRPC.
        monitoring: where on the REST port the figures for Prometheus are.
        model_roots: folders that a changed configuration may name models in, beside those of `models` or
            `model_config_file`; nothing else is ever loaded.

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
        request_timeout_seconds: float = REQUEST_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
        batching: BatchingParameters | None = None,
        ssl_config: SSLConfig | None = None,
        monitoring: Monitoring = Monitoring(),  # noqa: B008 - frozen
        model_roots: Sequence[str | os.PathLike[str]] = (),
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
            ("request_timeout_seconds", request_timeout_seconds, 0.001, threading.TIMEOUT_MAX),
            ("drain_seconds", drain_seconds, 0, 24 * 3600),
            ("file_system_poll_wait_seconds", file_system_poll_wait_seconds, 0, threading.TIMEOUT_MAX),
            ("model_config_file_poll_wait_seconds", model_config_file_poll_wait_seconds, 0, threading.TIMEOUT_MAX),
        ):
            if not lowest <= value <= highest:
                raise InputError(f"{argument} must be from {lowest} to {highest}, got {value}.")
        self._models = {} if model_config_file is not None else checked_models(models or {})
        self._config_file = model_config_file
        self._poll_seconds = (file_system_poll_wait_seconds, model_config_file_poll_wait_seconds)
        self._limits = Limits(max_request_bytes, num_threads, max_queued, request_timeout_seconds)
        self._batching, self._ssl_config, self._monitoring = batching, ssl_config, monitoring
        self._host, self._wanted_ports, self._roots = host, (rest_port, grpc_port), tuple(model_roots)
        self.drain_seconds = drain_seconds
        self._polling = contextlib.ExitStack()
        self._manager: ModelManager | None = None
        self._thread: threading.Thread | None = None
        self._stopping: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ports: tuple[int, int] | None = None

    @property
    def rest_url(self) -> str:
        """Base URL of the REST interface.

        Raises:
            ServingError: the server does not run.
        """
        scheme = "http" if self._ssl_config is None else "https"
        return f"{scheme}://{self._reachable_host()}:{self._running_ports()[0]}"

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
        return self._manager.names if self._manager is not None else ()

    def load(self) -> None:
        """Loads the wanted versions of every model, unless they are there already; `start` does so too.

        Raises:
            ConfigError: the model configuration cannot be read.
            ExportError: a model is missing or corrupt; none stays loaded then.
            ServingError: the server runs, and loads what changes by itself.
        """
        if self._thread is not None:
            raise ServingError("The server runs already; stop() it first.", "FAILED_PRECONDITION")
        self._manager = self._manager or self._loaded()

    def _loaded(self) -> ModelManager:
        models = self._models if self._config_file is None else read_model_config(self._config_file)
        manager = ModelManager(models, self._roots)
        manager.load()
        return manager

    def start(self) -> Self:
        """Loads the wanted versions of every model, then listens; returns once requests are answered.

        Raises:
            ConfigError: the model configuration cannot be read.
            ExportError: a model is missing or corrupt; nothing listens then.
            ServingError: the server runs already, or a port cannot be bound; nothing listens then.
        """
        if self._thread is not None:
            raise ServingError("The server runs already; stop() it first.", "FAILED_PRECONDITION")
        models = self._manager = self._manager or self._loaded()
        ready: Future[tuple[int, int]] = Future()
        thread = threading.Thread(target=self._run, args=(models, ready), name="tfxlm-serve-loop", daemon=True)
        thread.start()
        self._thread = thread
        try:
            self._ports = ready.result()
        except Exception:
            thread.join()
            self._thread = self._manager = None
            raise
        self._polling.enter_context(Repeated(models.refresh, self._poll_seconds[0], "tfxlm-serve-versions"))
        if self._config_file is not None:
            watch = ConfigWatcher(models, self._config_file)
            self._polling.enter_context(Repeated(watch, self._poll_seconds[1], "tfxlm-serve-config"))
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Closes both ports, and lets requests in progress finish, for `drain_seconds` at most.

        Of a server that does not run, it lets go what `load` has loaded. Threads that do not end in time are left
        behind, with a warning.
        """
        if self._thread is None or self._stopping is None:
            if self._manager is not None:
                self._manager.unload_all()
                self._manager = None
            return
        loop, stop = self._stopping
        loop.call_soon_threadsafe(stop.set)
        self._polling.close()
        self._thread.join(self.drain_seconds + 2 * STOP_MARGIN_SECONDS)
        if self._thread.is_alive():
            _LOG.warning("the server did not end in time; what still runs is left behind")
        self._thread = self._stopping = self._ports = self._manager = None
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
        try:
            asyncio.run(self._serve(models, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            models.unload_all(STOP_MARGIN_SECONDS)

    async def _serve(self, models: ModelManager, ready: "Future[tuple[int, int]]") -> None:
        stop = asyncio.Event()
        self._stopping = (asyncio.get_running_loop(), stop)
        limits, (rest_port, grpc_port) = self._limits, self._wanted_ports
        answering = Answering(models, limits, Metrics(), self._batching)
        reloading = WorkerPool(1, "tfxlm-serve-reload")
        max_calls = limits.num_threads + limits.max_queued + _QUESTIONS + MAX_WATCHERS
        tls = self._ssl_config
        listeners: tuple[Listener, ...] = (
            RestListener(rest_app(answering, self._monitoring.path), self._host, rest_port, tls),
            GrpcListener(
                grpc_handlers(answering, reloading, stop),
                self._host,
                grpc_port,
                tls,
                limits.max_request_bytes,
                max_calls,
            ),
        )
        try:
            bound_rest_port, bound_grpc_port = [await listener.start() for listener in listeners]
            ready.set_result((bound_rest_port, bound_grpc_port))
            await stop.wait()
            # What was sent before is answered: it may still wait for this loop, where nothing has counted it.
            await answering.gate.settled(min(_SETTLE_SECONDS, self.drain_seconds))
        finally:
            stop.set()  # also where it did not come to that
            # Both at once: neither takes anything new while the other's requests finish.
            await asyncio.gather(*(listener.stop(self.drain_seconds) for listener in listeners))
            answering.close()
            reloading.close()
