"""A server as a program of its own: until a signal, and not much longer."""

import faulthandler
import signal
import socket
import sys
from collections.abc import Callable
from typing import Self

from tfxlm.serve.server import STOP_MARGIN_SECONDS, Server

_STDERR = 2

# How long one thread keeps Python to itself. The event loop gives and takes it several times for each request; while
# threads are busy, with the usual five milliseconds, a queue would form where nothing counts or refuses it.
_SWITCH_SECONDS = 0.0002

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """SIGINT or SIGTERM, waited for inside a `with` block.

    Python runs handlers in its main thread only, and only when that is at work: one that waits for a lock is not woken
    by a signal that another thread was handed. What is waited for here is a byte, which the C handler itself writes to
    a socket whatever thread it runs in; no Python code runs as a handler, so none can wait for what it interrupted.
    """

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _nothing) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is _nothing:  # not that of a second signal
                signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        self._reader.close()
        self._writer.close()

    def wait(self) -> None:
        """Waits for the signal. From then on another one ends the process at once."""
        while self._reader.recv(1)[0] not in _SIGNALS:
            pass
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def _nothing(number: int, frame: object) -> None:
    """Is there so that the signal is written to the socket."""


def end_process_after(seconds: float) -> None:
    """Sees to it that the process ends in time, whatever its threads do.

    First with the tracebacks of all threads and status 1, by a thread that needs no Python; behind that, where the
    system has it, an alarm ends the process even where Python is no longer there.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + STOP_MARGIN_SECONDS)


def run_until_stopped(server: Server, say: Callable[[str], None]) -> None:
    """Runs a server until SIGINT or SIGTERM, lets requests in progress finish, and returns.

    A second signal ends the process at once; so does the time, a few seconds after its `drain_seconds`. A signal while
    models are being loaded ends it at once too: there is no request to lose yet. This is the last that a process does:
    its end stays timed.

    Args:
        server: the server, which does not run yet.
        say: is told what goes on.

    Raises:
        TFXLMError: the server cannot start.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        server.load()
    finally:
        signal.signal(signal.SIGINT, handler)
    with StopSignal() as stop:
        server.start()
        say(f"Serving {', '.join(server.model_names)}: REST {server.rest_url}, gRPC {server.grpc_address}")
        stop.wait()
        end_process_after(server.drain_seconds + 3 * STOP_MARGIN_SECONDS)
        say("Stopping; a second signal ends it at once.")
        server.stop()
