"""`tfxlm serve`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_DEFAULT = "127.0.0.1"


def serve(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=PATH",
            help="Name to serve under, and the exported folder that holds the version folders (PATH/1/saved_model.pb).",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="gRPC port, 0 for a free one.")] = 8500,
    rest_api_port: Annotated[int, typer.Option(help="REST port, 0 for a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on, 0.0.0.0 for all.")] = _DEFAULT,
    model_config_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A models.config in place of NAME=PATH: models, version policies, labels."),
    ] = None,
    model_config_file_poll_wait_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="How often to look whether it has changed, 0 for never.")
    ] = 0,
    file_system_poll_wait_seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How often to look for versions that have come or gone, 0 for never."),
    ] = 1,
    model_root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER", help="Where a changed configuration may name models, beside the folders given at first."
        ),
    ] = None,
    enable_batching: Annotated[
        bool, typer.Option("--enable-batching", help="Answer requests together that wait for the same signature.")
    ] = False,
    batching_parameters_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="How: BatchingParameters. Implies --enable-batching.")
    ] = None,
    monitoring_config_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A MonitoringConfig: whether and where the figures for Prometheus are on the REST port.",
        ),
    ] = None,
    ssl_config_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="An SSLConfig: key and certificates of both ports.")
    ] = None,
    rest_api_timeout_in_ms: Annotated[
        int, typer.Option(metavar="MS", help="How long a request may take, also one over gRPC without a deadline.")
    ] = 30_000,
    max_request_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Largest request.", show_default="64 MiB")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Requests worked on at the same time.", show_default="one per core")
    ] = None,
    max_queued: Annotated[
        int | None,
        typer.Option(metavar="N", help="Requests that may wait; more are told to come again (429).", show_default="64"),
    ] = None,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How long requests in progress have after SIGTERM or Ctrl+C.", show_default="25"
        ),
    ] = None,
    stock: Annotated[
        bool, typer.Option("--stock", help="Run tensorflow_model_server, which must be on the PATH, instead.")
    ] = False,
) -> None:
    """Serve exported models with TensorFlow Serving's REST and gRPC, until a signal.

    The highest version in each folder answers, unless a model configuration says otherwise; a new one takes over when
    its folder appears. Options may be spelled with underscores, as tensorflow_model_server's are.

    Example: tfxlm serve intent=exported/intent
    """
    folders = _folders(context, models or [], model_config_file)
    own: dict[str, Any] = {
        "max_request_bytes": max_request_bytes,
        "num_threads": threads,
        "max_queued": max_queued,
        "drain_seconds": drain_seconds,
        "model_roots": model_root,
    }
    own = {name: value for name, value in own.items() if value is not None}
    if stock:
        if own:
            context.fail("--stock takes no option that tensorflow_model_server has not: " + ", ".join(sorted(own)))
        flags = {
            "port": port,
            "rest_api_port": rest_api_port,
            "rest_api_timeout_in_ms": rest_api_timeout_in_ms,
            "model_config_file": model_config_file,
            # Without it no configuration with labels starts: no version is there yet when the first one is read.
            "allow_version_labels_for_unavailable_models": True,
            "model_config_file_poll_wait_seconds": round(model_config_file_poll_wait_seconds),
            "file_system_poll_wait_seconds": round(file_system_poll_wait_seconds),
            "enable_batching": enable_batching or batching_parameters_file is not None,
            "batching_parameters_file": batching_parameters_file,
            "monitoring_config_file": monitoring_config_file,
            "ssl_config_file": ssl_config_file,
        }
        from tfxlm.serve.stock import run_stock

        raise typer.Exit(run_stock(folders, host, flags))
    # Imports TensorFlow, which other commands and `--help` do without.
    from tfxlm.serve import (
        BatchingParameters,
        Server,
        read_batching_parameters,
        read_monitoring_config,
        read_ssl_config,
    )
    from tfxlm.serve.running import run_until_stopped

    if monitoring_config_file is not None:
        own["monitoring"] = read_monitoring_config(monitoring_config_file)
    if ssl_config_file is not None:
        own["ssl_config"] = read_ssl_config(ssl_config_file)
    if batching_parameters_file is not None:
        own["batching"] = read_batching_parameters(batching_parameters_file)
    elif enable_batching:
        own["batching"] = BatchingParameters()
    server = Server(
        folders,
        model_config_file=model_config_file,
        model_config_file_poll_wait_seconds=model_config_file_poll_wait_seconds,
        file_system_poll_wait_seconds=file_system_poll_wait_seconds,
        host=host,
        rest_port=rest_api_port,
        grpc_port=port,
        request_timeout_seconds=rest_api_timeout_in_ms / 1000,
        **own,
    )
    run_until_stopped(server, typer.echo)


def _folders(context: typer.Context, models: list[str], model_config_file: str | None) -> dict[str, str]:
    """Reads NAME=PATH arguments."""
    if bool(models) == bool(model_config_file):
        context.fail("give models as NAME=PATH, or --model-config-file (one of them)")
    folders: dict[str, str] = {}
    for model in models:
        name, separator, path = model.partition("=")
        if not (name and separator and path):
            context.fail(f"expected NAME=PATH, got {model!r}")
        if name in folders:
            context.fail(f"the name {name!r} is given twice")
        folders[name] = path
    return folders
