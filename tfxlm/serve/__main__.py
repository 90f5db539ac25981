"""`python -m tfxlm.serve NAME=PATH ...`: the embedded server on its own.

Options that TensorFlow Serving has too are also taken with its spelling, with underscores.
"""

import argparse
import queue
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from tfxlm.errors import TFXLMError
from tfxlm.serve.server import FILE_SYSTEM_POLL_SECONDS, MAX_QUEUED, MAX_REQUEST_BYTES, Server


def parser() -> argparse.ArgumentParser:
    """Builds the command line."""
    result = argparse.ArgumentParser(
        prog="python -m tfxlm.serve",
        description="Serves exported models with TensorFlow Serving's REST and gRPC interface. "
        "The highest version in each folder answers, unless a model configuration says otherwise.",
        epilog="example: python -m tfxlm.serve intent=exported/intent",
    )
    result.add_argument(
        "models",
        nargs="*",
        metavar="NAME=PATH",
        help="name to serve under, and the exported folder that holds the version folders (PATH/1/saved_model.pb)",
    )
    result.add_argument(
        "--model-config-file",
        "--model_config_file",
        metavar="FILE",
        help="a models.config of TensorFlow Serving in place of NAME=PATH: models, version policies, version labels",
    )
    result.add_argument(
        "--model-config-file-poll-wait-seconds",
        "--model_config_file_poll_wait_seconds",
        type=float,
        default=0,
        metavar="SECONDS",
        help="how often to look whether the model configuration has changed, 0 for never (default: %(default)s)",
    )
    result.add_argument(
        "--file-system-poll-wait-seconds",
        "--file_system_poll_wait_seconds",
        type=float,
        default=FILE_SYSTEM_POLL_SECONDS,
        metavar="SECONDS",
        help="how often to look for versions that have come or gone, 0 for never (default: %(default)s)",
    )
    result.add_argument(
        "--host", default="127.0.0.1", help="address to listen on, 0.0.0.0 for all (default: %(default)s)"
    )
    result.add_argument(
        "--rest-port", type=int, default=8501, metavar="PORT", help="REST port, 0 for a free one (default: %(default)s)"
    )
    result.add_argument(
        "--grpc-port", type=int, default=8500, metavar="PORT", help="gRPC port, 0 for a free one (default: %(default)s)"
    )
    result.add_argument(
        "--max-request-bytes",
        type=int,
        default=MAX_REQUEST_BYTES,
        metavar="BYTES",
        help="largest request (default: %(default)s)",
    )
    result.add_argument(
        "--threads", type=int, metavar="N", help="requests worked on at the same time (default: one per core)"
    )
    result.add_argument(
        "--max-queued",
        type=int,
        default=MAX_QUEUED,
        metavar="N",
        help="requests that may wait; more are told to come again (default: %(default)s)",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until SIGINT or SIGTERM.

    Args:
        arguments: command line without the program; `sys.argv` by default.

    Returns:
        Exit status: 0 after a stop, 1 if the server could not start.
    """
    command_line = parser()
    options = command_line.parse_args(arguments)
    models: dict[str, str] = {}
    if bool(options.models) == bool(options.model_config_file):
        command_line.error("give models as NAME=PATH, or --model-config-file (one of them)")
    for model in options.models:
        name, separator, path = model.partition("=")
        if not (name and separator and path):
            command_line.error(f"expected NAME=PATH, got {model!r}")
        if name in models:
            command_line.error(f"the name {name!r} is given twice")
        models[name] = path

    # Unlike an event, it can be told by a handler that interrupts the very call that waits for it.
    stop: queue.SimpleQueue[int] = queue.SimpleQueue()

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.put(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    try:
        server = Server(
            models,
            model_config_file=options.model_config_file,
            file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
            model_config_file_poll_wait_seconds=options.model_config_file_poll_wait_seconds,
            host=options.host,
            rest_port=options.rest_port,
            grpc_port=options.grpc_port,
            max_request_bytes=options.max_request_bytes,
            num_threads=options.threads,
            max_queued=options.max_queued,
        )
        with server:
            names = ", ".join(server.model_names)
            print(f"Serving {names}: REST {server.rest_url}, gRPC {server.grpc_address}", flush=True)
            stop.get()
            print("Stopping.", flush=True)
    except TFXLMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
