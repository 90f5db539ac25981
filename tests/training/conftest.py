"""A store that all trainings of these tests learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.support import LIVES, make_store, settings
from tfxlm.errors import TrainingError
from tfxlm.training import pretrain


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


class Poison(keras.callbacks.Callback):
    """Makes a weight infinite after the twelfth step."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 11:
            weight = self.model.trainable_weights[0]
            weight.assign(np.full(weight.shape, np.inf, np.float32))


@pytest.fixture(scope="session")
def poisoned(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output of a training that goes wrong after its twelfth step, and what it says."""
    output = tmp_path_factory.mktemp("poisoned") / "run"
    with pytest.raises(TrainingError) as caught:
        pretrain(settings(store, output, **{**LIVES, "steps": 13}), callbacks=[Poison()])
    return output, str(caught.value)
