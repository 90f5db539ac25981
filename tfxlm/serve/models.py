"""The models of a server: which versions there are, and which one answers."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from tfxlm.client.metadata import VersionStatus
from tfxlm.client.transport import ModelRef
from tfxlm.errors import ExportError, ServingError
from tfxlm.serve.servable import SAVED_MODEL_FILE, Servable


def version_folders(path: Path) -> dict[int, Path]:
    """Finds the version folders of an export: folders with a whole number for a name.

    Args:
        path: folder of a model, for example `exported/intent` with the version `exported/intent/1`.

    Raises:
        ExportError: there is no such folder, or no version in it.
    """
    if not path.is_dir():
        raise ExportError(f"No exported model in {path}: there is no such folder.")
    folders = {
        int(entry.name): entry
        for entry in path.iterdir()
        if entry.name.isascii() and entry.name.isdecimal() and entry.is_dir()
    }
    if not folders:
        hint = (
            f"{path} is itself a version; give its parent folder"
            if (path / SAVED_MODEL_FILE).exists()
            else (f"expected folders such as {path / '1'} with a {SAVED_MODEL_FILE}")
        )
        raise ExportError(f"No version of a model in {path}: {hint}.")
    return folders


class ModelManager:
    """Knows the loaded versions of every model and finds the one a request asks for.

    Args:
        folders: name under which a model is served -> its folder. Nothing outside these folders is ever loaded.
    """

    def __init__(self, folders: Mapping[str, str | os.PathLike[str]]) -> None:
        self._folders = {name: Path(path) for name, path in folders.items()}
        self._servables: dict[tuple[str, int], Servable] = {}
        self._lock = threading.Lock()

    def load_newest(self) -> None:
        """Loads the highest version of every model; if one fails, none stays loaded.

        Raises:
            ExportError: a folder, version or SavedModel is missing or corrupt.
        """
        try:
            for name, folder in self._folders.items():
                version, path = max(version_folders(folder).items())
                self._load(Servable(name, version, path))
        except ExportError:
            self.unload_all()
            raise

    def _load(self, servable: Servable) -> None:
        with self._lock:
            self._servables[servable.name, servable.version] = servable
        servable.load()

    def unload_all(self) -> None:
        """Unloads every version."""
        with self._lock:
            servables = list(self._servables.values())
            self._servables.clear()
        for servable in servables:
            servable.unload()

    def find(self, model: ModelRef) -> Servable:
        """Finds the version that should answer: the one asked for, else the newest available.

        Raises:
            ServingError: no such model or version (`NOT_FOUND`), or a version label (`INVALID_ARGUMENT`).
        """
        candidates = self._versions(model)
        available = [servable for servable in candidates if servable.status.state == "AVAILABLE"]
        if not available:
            raise ServingError(f"No version of model {model.name!r} is available.", "UNAVAILABLE")
        return max(available, key=lambda servable: servable.version)

    def statuses(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Returns the states of a model's versions, the newest first.

        Raises:
            ServingError: no such model or version (`NOT_FOUND`), or a version label (`INVALID_ARGUMENT`).
        """
        versions = sorted(self._versions(model), key=lambda servable: servable.version, reverse=True)
        return tuple(servable.status for servable in versions)

    def _versions(self, model: ModelRef) -> list[Servable]:
        if model.label is not None:
            raise ServingError(
                f"Version label {model.label!r} is unknown: this server assigns no labels. Ask for a version number.",
                "INVALID_ARGUMENT",
            )
        with self._lock:
            servables = [servable for (name, _), servable in self._servables.items() if name == model.name]
        if not servables:
            known = ", ".join(map(repr, self._folders))
            raise ServingError(f"Model {model.name!r} is not served here; served are: {known}.", "NOT_FOUND")
        if model.version is None:
            return servables
        matching = [servable for servable in servables if servable.version == model.version]
        if not matching:
            known = ", ".join(str(servable.version) for servable in servables)
            raise ServingError(
                f"Model {model.name!r} has no version {model.version} here; served: {known}.", "NOT_FOUND"
            )
        return matching
