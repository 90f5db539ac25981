"""TensorFlow Serving's files about batching, monitoring and TLS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfxlm.errors import ConfigError, InputError
from tfxlm.serve import (
    BatchingParameters,
    Monitoring,
    SSLConfig,
    read_batching_parameters,
    read_monitoring_config,
    read_ssl_config,
)


def write(folder: Path, text: str) -> Path:
    file = folder / "file.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_batching_parameters(tmp_path: Path) -> None:
    whole = """
    # as TensorFlow Serving's guide writes it
    max_batch_size { value: 32 }
    batch_timeout_micros { value: 1500 }
    max_enqueued_batches: { value: 4 }
    num_batch_threads { value: 3 }
    thread_pool_name { value: "pool" }
    allowed_batch_sizes : 8
    allowed_batch_sizes : 32
    pad_variable_length_inputs: true
    """
    expected = BatchingParameters(32, 1500, 4, 3, (8, 32), True)
    assert read_batching_parameters(write(tmp_path, whole)) == expected
    assert read_batching_parameters(write(tmp_path, "")) == BatchingParameters(1000, 0, 10, os.cpu_count() or 1)
    assert [expected.rows_to_run(rows) for rows in (1, 8, 9, 32, 33)] == [8, 8, 32, 32, 33]


def test_monitoring(tmp_path: Path) -> None:
    for text, path in (
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("", None),
    ):
        assert read_monitoring_config(write(tmp_path, text)) == Monitoring(path)


Read = Callable[[Path], object]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (
            read_batching_parameters,
            "max_batch_size: 3",
            "is not a BatchingParameters in protocol buffer text format: 1",
        ),
        (
            read_batching_parameters,
            "max_batch_size { value: 0 }",
            r"file\.txt: max_batch_size must be at least 1, got 0",
        ),
        (
            read_batching_parameters,
            "batch_timeout_micros { value: -1 }",
            "batch_timeout_micros must be at least 0, got",
        ),
        (
            read_batching_parameters,
            "max_batch_size { value: 9 } allowed_batch_sizes: 8",
            r"allowed_batch_sizes must increase from 1 or more to max_batch_size, 9; got \[8\]",
        ),
        (
            read_batching_parameters,
            "max_batch_size { value: 4 } allowed_batch_sizes: [8, 4]",
            r"allowed_batch_sizes must increase .*; got \[8, 4\]",
        ),
        (read_monitoring_config, "prometheus { }", "is not a MonitoringConfig in protocol buffer text format"),
        (
            read_monitoring_config,
            'prometheus_config { enable: true path: "metrics" }',
            r"the path must begin with '/', and not with '/v1/', such as /monitoring/prometheus/metrics; got 'metrics'",
        ),
        (
            read_monitoring_config,
            'prometheus_config { enable: true path: "/v1/x" }',
            "and not with '/v1/'.*got '/v1/x'",
        ),
        (read_ssl_config, "server_key { }", "is not a SSLConfig in protocol buffer text format"),
        (read_ssl_config, "", r"file\.txt: server_key must be PEM text, which begins with -----BEGIN; it is none"),
        (read_ssl_config, 'server_key: "-----BEGIN" server_cert: "x"', "server_cert must be PEM text"),
        (
            read_ssl_config,
            'server_key: "-----BEGIN" server_cert: "-----BEGIN"',
            r"server_key, server_cert and custom_ca cannot be used \(.*\)\. Give a key and its own certificate",
        ),
        (
            read_ssl_config,
            'server_key: "-----BEGIN" server_cert: "-----BEGIN" client_verify: true',
            "client_verify needs custom_ca: the authorities that clients' certificates come from",
        ),
    ],
)
def test_files_that_are_refused(read: Read, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(write(tmp_path, text))


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (read_batching_parameters, "file of batching parameters"),
        (read_monitoring_config, "monitoring configuration"),
        (read_ssl_config, "TLS configuration"),
    ],
)
def test_files_that_are_not_there(read: Read, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^The {what} .*absent cannot be read: No such file"):
        read(tmp_path / "absent")


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match=r"^num_batch_threads must be at least 1, got 0\."):
        BatchingParameters(num_batch_threads=0)
    with pytest.raises(InputError, match=r"^server_key must be PEM text"):
        SSLConfig("secret", "")
