"""The models of a server: which versions are loaded, and which one answers."""

import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tfxlm.client.metadata import VersionStatus
from tfxlm.client.transport import ModelRef
from tfxlm.errors import ExportError, ServingError
from tfxlm.serve.model_config import ServedModel
from tfxlm.serve.servable import SAVED_MODEL_FILE, Servable
from tfxlm.serve.warmup import replay_warmup

_LOG = logging.getLogger("tfxlm.serve")

# Statuses and messages have an int64 for the version.
_VERSIONS_BELOW = 2**63

# Versions whose folders are gone and that still have a status.
_REMEMBERED = 100


def version_folders(path: Path) -> dict[int, Path]:
    """Finds the version folders of an export: folders with a whole number for a name, which fits into an int64.

    Args:
        path: folder of a model, for example `exported/intent` with the version `exported/intent/1`.

    Raises:
        ExportError: there is no such folder.
    """
    try:
        entries = list(path.iterdir())
    except NotADirectoryError:
        raise ExportError(f"No exported model in {path}: it is a file.") from None
    except OSError:
        raise ExportError(f"No exported model in {path}: there is no such folder.") from None
    return {
        int(entry.name): entry
        for entry in entries
        if entry.name.isascii() and entry.name.isdecimal() and int(entry.name) < _VERSIONS_BELOW and entry.is_dir()
    }


class ModelManager:
    """Loads and unloads versions of models, and finds the one a request asks for.

    A new version is loaded beside the old one, which goes when the new one is available and its own last request has
    been answered: no request is refused for a change of versions.

    Args:
        models: by the name they are served under.
        roots: folders that models may come to be in later. Nothing outside these and the models' own folders is ever
            loaded.
    """

    def __init__(self, models: Mapping[str, ServedModel], roots: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._models = dict(models)
        self._allowed = tuple({Path(path).resolve() for path in (*roots, *(it.path for it in models.values()))})
        self._servables: dict[str, dict[int, Servable]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        # What a version that could not be loaded was like then: it is tried again when it has changed.
        self._failed: dict[Path, tuple[object, ExportError]] = {}
        self._reported: dict[str, str] = {}
        self._lock = threading.Lock()  # for the tables, never held while something is loaded
        self._change = threading.Lock()  # one change at a time
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self._models)

    def load(self) -> None:
        """Loads the wanted versions of every model; if anything fails, none stays loaded.

        Raises:
            ExportError: a folder, version or SavedModel is missing or corrupt, or a label names none that is served.
            ServingError: everything was unloaded before (`UNAVAILABLE`).
        """
        with self._changing():
            problems = self._update()
        if problems:
            self.unload_all()
            raise next(iter(problems.values()))

    def check_folders(self, models: Mapping[str, ServedModel]) -> None:
        """Checks that models are in folders that this server was given.

        Raises:
            ServingError: one is elsewhere (`PERMISSION_DENIED`).
        """
        for name, model in models.items():
            if not self._is_allowed(Path(model.path)):
                raise ServingError(
                    f"Model {name!r} is in {model.path}, which is in no folder that this server was given: "
                    f"{', '.join(sorted(map(str, self._allowed)))}. Start it with a model root that holds it.",
                    "PERMISSION_DENIED",
                )

    def refresh(self, models: Mapping[str, ServedModel] | None = None) -> tuple[str, ...]:
        """Loads versions that are new, and unloads those that are no longer wanted.

        What fails is logged, once; what is served already goes on being served.

        Args:
            models: the models from now on; the same as before by default.

        Returns:
            What failed.

        Raises:
            ServingError: a model is in no folder that this server was given (`PERMISSION_DENIED`), or everything was
                unloaded for good (`UNAVAILABLE`); nothing changes then.
        """
        self.check_folders(models or {})
        with self._changing():
            if models is not None:
                self._models = dict(models)
            problems = {what: str(error) for what, error in self._update().items()}
            for what, message in problems.items():
                if self._reported.get(what) != message:
                    _LOG.warning("%s", message)
            self._reported = problems
            return tuple(problems.values())

    def unload_all(self, seconds: float | None = None) -> None:
        """Unloads every version, for good: nothing is loaded from now on.

        Args:
            seconds: how long to wait for requests in progress, and for a version that is being loaded; who loads it
                unloads everything in the end. None for no limit.
        """
        end = None if seconds is None else time.monotonic() + seconds
        self._closed = True
        if self._change.acquire(timeout=-1 if seconds is None else seconds):
            try:
                self._drop_all(end)
            finally:
                self._change.release()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Makes a change, one at a time, as long as there may be changes."""
        with self._change:
            if self._closed:
                raise ServingError("The models of this server were unloaded; make a new one.", "UNAVAILABLE")
            try:
                yield
            finally:
                if self._closed:  # meanwhile, by who did not wait
                    self._drop_all(time.monotonic())

    def _drop_all(self, end: float | None) -> None:
        with self._lock:
            servables = [servable for versions in self._servables.values() for servable in versions.values()]
            self._servables.clear()
            self._labels.clear()
        for servable in servables:
            servable.unload(None if end is None else max(0, end - time.monotonic()))

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers."""
        with self._lock:
            models = {name: list(self._servables.get(name, {}).values()) for name in self._models}
        return all(any(it.status.state == "AVAILABLE" for it in versions) for versions in models.values())

    def _is_allowed(self, path: Path) -> bool:
        place = path.resolve()
        return any(place.is_relative_to(root) for root in self._allowed)

    def _link_out(self, folder: Path) -> Path | None:
        """Finds a link below a folder, or below what its links lead to, that leads to where nothing may be loaded."""
        seen: set[Path] = set()
        for place, folders, files in os.walk(folder, followlinks=True):
            for entry in (*folders, *files):
                path = Path(place, entry)
                if path.is_symlink() and not self._is_allowed(path):
                    return path
            # Links may lead in circles.
            new = {name: Path(place, name).resolve() for name in folders}
            folders[:] = [name for name, real in new.items() if real not in seen]
            seen.update(new.values())
        return None

    def find(self, model: ModelRef) -> Servable:
        """Finds the version that should answer: the one asked for, else the newest available.

        Raises:
            ServingError: no such model or version, or none that is available (`NOT_FOUND`, `UNAVAILABLE`), or no such
                version label (`INVALID_ARGUMENT`).
        """
        # Twice: the first look may see the old version after it went and the new one before it came.
        for _ in range(2):
            candidates = self._versions(model)
            available = [servable for servable in candidates if servable.status.state == "AVAILABLE"]
            if available:
                return max(available, key=lambda servable: servable.version)
        states = ", ".join(f"version {it.version} is {it.status.state}" for it in candidates)
        coming = any(servable.status.state in ("START", "LOADING") for servable in candidates)
        gone = model.version is not None and not coming
        raise ServingError(
            f"No version of model {model.name!r} is available: {states or 'there is none'}."
            if model.version is None and model.label is None
            else f"Model {model.name!r} {states}, so it cannot answer.",
            "NOT_FOUND" if gone else "UNAVAILABLE",
        )

    @contextlib.contextmanager
    def serving(self, model: ModelRef) -> Iterator[Servable]:
        """Finds the version that should answer and keeps it loaded inside the block.

        Raises:
            ServingError: as `find`.
        """
        servable = self.find(model)
        while not servable.acquire():  # unloaded since it was found: there is a newer one
            servable = self.find(model)
        try:
            yield servable
        finally:
            servable.release()

    def statuses(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Returns the states of a model's versions, the newest first; also of those that were unloaded.

        Raises:
            ServingError: no such model or version (`NOT_FOUND`), or no such version label (`INVALID_ARGUMENT`).
        """
        versions = sorted(self._versions(model), key=lambda servable: servable.version, reverse=True)
        return tuple(servable.status for servable in versions)

    def _versions(self, model: ModelRef) -> list[Servable]:
        with self._lock:
            names = list(self._servables)
            versions = dict(self._servables.get(model.name, {}))
            labels = dict(self._labels.get(model.name, {}))
        if model.name not in names:
            known = ", ".join(map(repr, names))
            raise ServingError(f"Model {model.name!r} is not served here; served are: {known}.", "NOT_FOUND")
        version = model.version
        if model.label is not None:
            if model.label not in labels:
                known = ", ".join(map(repr, labels)) or "none"
                raise ServingError(
                    f"Version label {model.label!r} is unknown: model {model.name!r} has {known}. Ask for a version "
                    "number, or for one of these.",
                    "INVALID_ARGUMENT",
                )
            version = labels[model.label]
        if version is None:
            return list(versions.values())
        if version not in versions:
            known = ", ".join(map(str, versions)) or "none"
            raise ServingError(f"Model {model.name!r} has no version {version} here; served: {known}.", "NOT_FOUND")
        return [versions[version]]

    def _update(self) -> dict[str, ExportError]:
        """Brings what is loaded in line with models and folders; returns what failed, by what it was."""
        problems: dict[str, ExportError] = {}
        for name, model in self._models.items():
            if not self._closed:
                problems |= self._update_model(name, model)
        with self._lock:
            dropped = [self._servables.pop(name) for name in set(self._servables) - set(self._models)]
            self._labels = {name: labels for name, labels in self._labels.items() if name in self._models}
        _unload(servable for versions in dropped for servable in versions.values())
        return problems

    def _update_model(self, name: str, model: ServedModel) -> dict[str, ExportError]:
        problems: dict[str, ExportError] = {}
        path = Path(model.path)
        with self._lock:
            versions = self._servables.setdefault(name, {})
        try:
            folders = version_folders(path)
        except ExportError as error:
            return {name: error}  # a folder that is away for a while is no reason to unload what came from it
        outside = [version for version, folder in folders.items() if not self._is_allowed(folder)]
        for version in outside:
            problems[f"{name} {version}"] = ExportError(
                f"Version {version} of model {name!r}, {folders.pop(version)}, is a link out of the folders that this "
                "server was given. Put the version itself there, or start the server with a model root that holds it."
            )
        wanted = model.policy.choose(folders)
        missing = (model.policy.specific or frozenset()) - wanted
        if missing or not wanted:
            problems[name] = _no_version(path, missing)
        for version in sorted(wanted):
            if self._closed:
                return problems
            problem = self._load_version(name, version, folders[version])
            if problem is not None:
                problems[f"{name} {version}"] = problem
        self._assign_labels(name, model, versions, problems)
        # The old ones stay until there is one in their place.
        if not wanted or any(_is_available(versions, version) for version in wanted):
            _unload(servable for version, servable in sorted(versions.items()) if version not in wanted)
        with self._lock:
            for version in sorted(version for version in versions if version not in folders)[:-_REMEMBERED]:
                if versions[version].status.state == "END":
                    del versions[version]
        return problems

    def _load_version(self, name: str, version: int, folder: Path) -> ExportError | None:
        current = self._servables[name].get(version)
        answers = current is not None and current.status.state == "AVAILABLE"
        if current is not None and answers and current.path.resolve() == folder.resolve():
            return None
        stray = self._link_out(folder)
        if stray is not None:
            return ExportError(
                f"Version {version} of model {name!r}, {folder}, holds a link out of the folders that this server was "
                f"given: {stray}. Put the file itself there, or start the server with a model root that holds it."
            )
        likeness = _likeness(folder)
        if current is not None and folder in self._failed and self._failed[folder][0] == likeness:
            return self._failed[folder][1]
        servable = Servable(name, version, folder)
        if not answers:
            with self._lock:
                self._servables[name][version] = servable
        try:
            servable.load(replay_warmup)
        except ExportError as error:
            # Without its traceback, whose frames hold the model.
            failure = ExportError(str(error))
            self._failed[folder] = likeness, failure
            return failure
        self._failed.pop(folder, None)
        if current is not None and answers:
            # The same number in another folder: the model was moved, and what answered until now goes.
            with self._lock:
                self._servables[name][version] = servable
            _unload([current])
        return None

    def _assign_labels(
        self, name: str, model: ServedModel, versions: Mapping[int, Servable], problems: dict[str, ExportError]
    ) -> None:
        """Gives labels to versions that are available; one whose version is not stays where it was."""
        labels = {label: version for label, version in self._labels.get(name, {}).items() if label in model.labels}
        for label, version in model.labels.items():
            if _is_available(versions, version):
                labels[label] = version
            else:
                problems[f"{name} {label}"] = ExportError(
                    f"Model {name!r} gives the label {label!r} to version {version}, which is not available. Label "
                    "versions that are served: see model_version_policy."
                )
        with self._lock:
            self._labels[name] = labels


def _is_available(versions: Mapping[int, Servable], version: int) -> bool:
    return version in versions and versions[version].status.state == "AVAILABLE"


def _unload(servables: Iterable[Servable]) -> None:
    available = [servable for servable in servables if servable.status.state == "AVAILABLE"]
    for servable in available:
        servable.unload()
    if available:
        gc.collect()  # a loaded SavedModel refers to itself in circles, so its memory is not free at once


def _no_version(path: Path, missing: frozenset[int]) -> ExportError:
    if missing:
        return ExportError(f"No version {', '.join(map(str, sorted(missing)))} of a model in {path}.")
    if (path / SAVED_MODEL_FILE).exists():
        return ExportError(f"No version of a model in {path}: {path} is itself a version; give its parent folder.")
    return ExportError(
        f"No version of a model in {path}: expected folders such as {path / '1'} with a {SAVED_MODEL_FILE}."
    )


def _likeness(folder: Path) -> object:
    """Something that changes when a file of a folder does, for example because it is still being copied."""
    with contextlib.suppress(OSError):
        states = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
        return [(path, state.st_size, state.st_mtime_ns) for path, state in states]
    return None
