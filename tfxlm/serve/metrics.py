"""Figures for Prometheus, under TensorFlow Serving's names where the same thing is meant."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from tfxlm.errors import ConfigError
from tfxlm.serve.config_messages import CLASSES
from tfxlm.serve.text_files import read_message

PATH = "/monitoring/prometheus/metrics"

# TensorFlow Serving's: from ten millionths of a second to about twenty minutes.
_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
_ROWS = tuple(2.0**power for power in range(15))

_EXAMPLE = "prometheus_config { enable: true }"


@dataclass(frozen=True)
class Monitoring:
    """Where the figures are.

    Args:
        path: on the REST port, or None for nowhere.
    """

    path: str | None = PATH


def read_monitoring_config(file: str | os.PathLike[str]) -> Monitoring:
    """Reads a MonitoringConfig of TensorFlow Serving, in protocol buffer text format.

    Raises:
        ConfigError: the file cannot be read or is malformed, or its path cannot be one.
    """
    config = read_message(file, CLASSES["MonitoringConfig"](), "monitoring configuration", _EXAMPLE).prometheus_config
    path = config.path or PATH
    if not path.startswith("/") or path.startswith("/v1/") or not path.isascii() or set(path) & set("{}?# "):
        raise ConfigError(f"{file}: the path must begin with '/', and not with '/v1/', such as {PATH}; got {path!r}.")
    return Monitoring(path if config.enable else None)


class _PlainCounter(Collector):
    """A counter whose name does not end with `_total`, as those of TensorFlow Serving do not."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()
        registry.register(self)

    def count(self, *values: str) -> None:
        with self._lock:
            self._counts[values] += 1

    def collect(self) -> Iterable[Metric]:
        metric = Metric(self._name, self._documentation, "unknown")
        with self._lock:
            counts = dict(self._counts)
        for values, count in counts.items():
            metric.add_sample(self._name, dict(zip(self._labels, values, strict=True)), count)
        yield metric

    def describe(self) -> Iterator[Metric]:
        yield Metric(self._name, self._documentation, "unknown")


class Metrics:
    """The figures of one server, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = _PlainCounter(
            ":tensorflow:serving:request_count", "The requests that were answered.", ("model_name", "status"), registry
        )
        self._request_seconds = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a request to its answer.",
            ("model_name", "API", "entrypoint"),
            buckets=_MICROSECONDS,
            registry=registry,
        )
        self._graph_seconds = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Microseconds in TensorFlow.",
            ("model_name", "API", "runtime"),
            buckets=_MICROSECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size",
            "Rows of requests that were answered together.",
            ("model_name",),
            buckets=_ROWS,
            registry=registry,
        )
        self._inside = Gauge("tfxlm_requests_in_progress", "Requests that have no answer yet.", registry=registry)
        self._refused = PrometheusCounter(
            "tfxlm_requests_refused", "Requests that were told to come again.", ("entrypoint",), registry=registry
        )

    def watch(self, inside: Callable[[], int]) -> None:
        """Asks a function how many requests are inside whenever the figures are read."""
        self._inside.set_function(inside)

    def count_request(self, model_name: str, api: str, entrypoint: str, code: str, seconds: float) -> None:
        """Counts a request that was answered.

        Args:
            model_name: a model that is served, or empty: what clients invent would fill the memory.
            api: `"Predict"`, ...
            entrypoint: `"REST"` or `"GRPC"`.
            code: the canonical code of the answer.
            seconds: how long it took.
        """
        self._requests.count(model_name, code)
        self._request_seconds.labels(model_name, api, entrypoint).observe(seconds * 1e6)
        if code == "RESOURCE_EXHAUSTED":
            self._refused.labels(entrypoint).inc()

    def time_graph(self, model_name: str, seconds: float) -> None:
        """Counts a call of a graph."""
        self._graph_seconds.labels(model_name, "Predict", "TF2").observe(seconds * 1e6)

    def count_batch(self, model_name: str, rows: int) -> None:
        """Counts a batch that was run."""
        self._batches.labels(model_name).observe(rows)

    def text(self) -> bytes:
        """Writes all figures as Prometheus reads them."""
        return generate_latest(self.registry)
