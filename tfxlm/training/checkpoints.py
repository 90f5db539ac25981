"""Checkpoints of a training: weights, optimizer, seeds of dropout and the step, in folders that appear whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from tfxlm import files
from tfxlm.errors import CorruptFileError, UnsupportedFileError, WeightMismatchError

ARRAYS, STATE = "state.safetensors", "state.json"
FORMAT, VERSION = "tfxlm training", 1
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
                shutil.rmtree(self.folder(other), ignore_errors=True)

    def read_state(self, step: int) -> dict[str, Any]:
        """Reads what was saved beside the weights.

        Raises:
            CorruptFileError: it is damaged.
            UnsupportedFileError: it is of another version.
        """
        path = self.folder(step) / STATE
        state = files.read_json(path)
        if state.get("format") != FORMAT or state.get("version") != VERSION:
            raise UnsupportedFileError(
                f"'{path}' is of format {state.get('format')!r:.40}, version {state.get('version')!r:.40}, but "
                f"{FORMAT!r}, version {VERSION}, is what can be resumed. Start anew in another folder."
            )
        if state.get("step") != step or not isinstance(state.get("config"), dict):
            raise CorruptFileError(f"'{path}' is not what was written. Remove '{path.parent}' to resume before it.")
        return state

    def load(self, model: keras.Model, step: int) -> None:
        """Gives a model and its optimizer what a checkpoint holds.

        Args:
            model: compiled, with an optimizer that is built.
            step: of the checkpoint.

        Raises:
            CorruptFileError: the file is damaged.
            WeightMismatchError: it is of another model or optimizer.
        """
        path, variables = self.folder(step) / ARRAYS, _variables(model)
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
