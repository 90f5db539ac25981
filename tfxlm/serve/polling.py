"""Looking again every few seconds: for new versions, and for a changed model configuration."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tfxlm.errors import ConfigError, ServingError
from tfxlm.serve.model_config import read_model_config
from tfxlm.serve.models import ModelManager

_LOG = logging.getLogger("tfxlm.serve")

# A call may be loading a large model: its thread is left behind then, and ends with the process.
_JOIN_SECONDS = 1.0


class Repeated:
    """Calls a function every so many seconds from a thread of its own, inside a `with` block.

    Args:
        function: what to call; what it raises is logged, and it is called again.
        seconds: from the end of one call to the next; 0 for never.
        name: of the thread.
    """

    def __init__(self, function: Callable[[], object], seconds: float, name: str) -> None:
        self._function, self._seconds = function, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._function()
            except Exception:  # a disk that is full or away now may be well the next time
                if not self._stop.is_set():  # the models may be unloaded then
                    _LOG.exception("a periodic check failed")

    def __enter__(self) -> Self:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)


class ConfigWatcher:
    """Reads a model configuration again and has the models follow it; a broken one is logged, and changes nothing.

    Args:
        models: what follows.
        file: `models.config`.
    """

    def __init__(self, models: ModelManager, file: str | os.PathLike[str]) -> None:
        self._models, self._file = models, Path(file)
        self._seen: object = None  # so that a change since the server read it is not missed

    def __call__(self) -> None:
        """Looks once."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._models.refresh(read_model_config(self._file))
        except (ConfigError, ServingError) as error:
            _LOG.warning("the model configuration stays as it was: %s", error)

    def _stamp(self) -> object:
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino
