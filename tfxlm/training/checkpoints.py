"""Checkpoints of a training: weights, optimizer, seeds of dropout and the step, in folders that appear whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from tfxlm import files
from tfxlm.errors import CorruptFileError, UnsupportedFileError, WeightMismatchError
from tfxlm.training.metrics import Figures

ARRAYS, STATE = "state.safetensors", "state.json"
FORMAT, VERSION = "tfxlm training", 1
_LARGEST, _MAX = 1 << 48, 1e300  # of a number that counts, and of any other
_FOLDER = re.compile(r"step-(\d{9})")


class CheckpointFolder:
    """A folder of checkpoints, the last ones of a training and the best.

    Args:
        path: the folder.
        keep: how many of the last ones stay.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path, self._keep = path, keep

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints in order."""
        found = [_FOLDER.fullmatch(entry.name) for entry in self.path.iterdir()] if self.path.is_dir() else []
        return sorted(int(match[1]) for match in found if match)

    def folder(self, step: int) -> Path:
        """Returns the folder of a step."""
        return self.path / f"step-{step:09d}"

    def save(self, model: keras.Model, state: Mapping[str, Any], step: int, best: int | None) -> None:
        """Writes a checkpoint, and removes those that are too many.

        Args:
            model: compiled, with an optimizer that is built.
            state: what else belongs to the training, as JSON types.
            step: number of the next batch.
            best: the step of the best one, which stays.
        """
        with files.atomic_folder(self.folder(step)) as folder:
            arrays = {name: np.asarray(ops.convert_to_numpy(it), order="C") for name, it in _variables(model).items()}
            safetensors.numpy.save_file(arrays, folder / ARRAYS)
            files.write_json(folder / STATE, {"format": FORMAT, "version": VERSION, **state, "step": step})
        for other in self.steps()[: -self._keep]:
            if other != best:
                files.remove_folder(self.folder(other))

    def read_state(self, step: int) -> dict[str, Any]:
        """Reads what was saved beside the weights, and makes sure that it is of the form that `Run.state` gives it.

        Raises:
            CorruptFileError: it is damaged.
            UnsafeFileError: it is a link that leads elsewhere.
            UnsupportedFileError: it is of another version.
        """
        path = files.inside(self.folder(step), STATE)
        state = files.read_json(path)
        if state.get("format") != FORMAT or state.get("version") != VERSION:
            raise UnsupportedFileError(
                f"'{path}' is of format {state.get('format')!r:.40}, version {state.get('version')!r:.40}, but "
                f"{FORMAT!r}, version {VERSION}, is what can be resumed. Start anew in another folder."
            )
        for problem in _problems(state, step):
            raise CorruptFileError(
                f"'{path}' is not what was written: {problem}. Remove '{path.parent}' to resume before it."
            )
        return state

    def load(self, model: keras.Model, step: int) -> None:
        """Gives a model and its optimizer what a checkpoint holds.

        Args:
            model: compiled, with an optimizer that is built.
            step: of the checkpoint.

        Raises:
            CorruptFileError: the file is damaged.
            UnsafeFileError: it is a link that leads elsewhere.
            WeightMismatchError: it is of another model or optimizer.
        """
        path, variables = files.inside(self.folder(step), ARRAYS), _variables(model)
        try:
            with safetensors.safe_open(path, "numpy") as stored:
                shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
                if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
                    raise WeightMismatchError(
                        f"'{path}' has {len(shapes)} arrays, which do not fit the {len(variables)} variables of model "
                        "and optimizer. Resume with the settings that the training began with."
                    )
                for name, variable in variables.items():
                    variable.assign(stored.get_tensor(name))
        except (safetensors.SafetensorError, OSError) as error:
            raise CorruptFileError(
                f"'{path}' cannot be read: {error}. Remove '{path.parent}' to resume from the checkpoint before it."
            ) from error


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns all variables of a training by name; seeds of dropout are the model's."""
    owners = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}.{index}": it for owner, variables in owners.items() for index, it in enumerate(variables)}


def _problems(state: Mapping[str, Any], step: int) -> Iterator[str]:
    """Says what is wrong with a state; what comes later relies on what came before."""
    if not _is_count(state.get("step")) or state["step"] != step:
        yield f"step is {state.get('step')!r:.40}, not {step}"
    for name in ("config", "store", "total", "held_out"):
        if not isinstance(state.get(name), dict):
            yield f"{name} is missing, or no object"
    for name, figures in (*state["total"].items(), *state["held_out"].items()):
        if not isinstance(figures, dict) or set(figures) != set(Figures.__dataclass_fields__):
            yield f"the figures of {name!r:.40} are others than {', '.join(Figures.__dataclass_fields__)}"
        is_right = _is_count(figures["batches"]) and all(map(_is_finite, figures.values()))
        if not is_right or not 0 <= figures["correct"] <= figures["tokens"]:
            yield f"the figures of {name!r:.40} cannot be"
    best, loss = state.get("best_step"), state.get("best_loss")
    if (best is None) != (loss is None) or not (
        best is None or (_is_count(best) and best <= step and _is_finite(loss))
    ):
        yield f"the best step cannot be {best!r:.40} with a loss of {loss!r:.40}"
    if not _is_count(state.get("without_better")):
        yield f"without_better is {state.get('without_better')!r:.40}"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MAX
