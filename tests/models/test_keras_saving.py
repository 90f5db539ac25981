"""Files of Keras: models and weights with the optimizer's state, checkpoints during training, and exact resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.cases import BY_NAME, ROWS, Case
from tests.models.test_keras_fit import losses_of, plain


def fit(case: Case, model: Any, epochs: int, size: int = ROWS, **options: Any) -> list[float]:
    inputs, labels = case.data()
    data = (inputs, plain(labels))
    return model.fit(*data, batch_size=size, shuffle=False, epochs=epochs, verbose=0, **options).history["loss"]


def new(case: Case) -> Any:
    """With dropout, whose random state is part of what resuming needs."""
    keras.utils.set_random_seed(0)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    return case.compiled(optimizer, model=case.model(**{case.family.dropout[0]: 0.2}), run_eagerly=case.is_eager)


def assert_same(left: Any, right: Any) -> None:
    """Weights, random states and the optimizer's variables, bit for bit."""
    for kind in ("variables", "optimizer"):
        lefts, rights = (getattr(model, kind) for model in (left, right))
        if kind == "optimizer":
            lefts, rights = lefts.variables, rights.variables
        for a, b in zip(lefts, rights, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{kind} {a.path}")


def test_keras_files_continue_training(case: Case, tmp_path: Path) -> None:
    """With a compiled loss in two classes, of one label and of several, and their own in the others."""
    model = new(case)
    if str(case) in ("TFXLMForTokenClassification", "TFXLMForQuestionAnswering"):
        case.compiled(keras.optimizers.Adam(1e-2), model=model, loss=losses_of(case), run_eagerly=case.is_eager)
    fit(case, model, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is type(model) and again.compiled
    assert_same(again, model)
    assert fit(case, again, 1) == fit(case, model, 1)
    assert_same(again, model)


class InterruptedRunError(Exception):
    """What ends a run early."""


class Interrupt(keras.callbacks.Callback):
    """Ends a run in the middle of its second epoch, of two batches."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.model.optimizer.iterations == 3:
            raise InterruptedRunError


def test_backup_and_restore(case: Case, tmp_path: Path) -> None:
    """A run that is interrupted and started again ends as one that was not."""
    whole = new(case)
    losses = fit(case, whole, 2, size=4)
    with pytest.raises(InterruptedRunError):
        fit(case, new(case), 2, size=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Interrupt()])
    again = new(case)
    rest = fit(case, again, 2, size=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert rest == losses[1:]
    assert_same(again, whole)


def test_model_checkpoints(case: Case, tmp_path: Path) -> None:
    """The checkpoint of an epoch, a model or weights alone, leads to where the run went."""
    model = new(case)
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    losses = fit(case, model, 2, callbacks=callbacks)
    weights = new(case)
    weights.optimizer.build(weights.trainable_variables)
    weights.load_weights(tmp_path / "1.weights.h5")
    for again in (weights, keras.saving.load_model(tmp_path / "1.keras")):
        assert fit(case, again, 1) == losses[1:]
        assert_same(again, model)


def test_best_checkpoints(tmp_path: Path) -> None:
    """Only those are written in which what is monitored became better."""
    case = BY_NAME["TFXLMForSequenceClassification"]
    model = new(case)
    callback = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="val_loss", save_best_only=True)
    inputs, labels = case.data()
    data = (inputs, plain(labels))
    history = model.fit(*data, validation_data=data, epochs=4, callbacks=[callback], verbose=0).history["val_loss"]
    best = {epoch + 1 for epoch, loss in enumerate(history) if loss == min(history[: epoch + 1])}
    assert {int(path.stem) for path in tmp_path.iterdir()} == best


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_precision_is_saved(case: Case, policy: str, tmp_path: Path) -> None:
    model = case.model(dtype=policy)
    inputs, _ = case.data()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.dtype_policy.name == policy
    for name, value in model(inputs).items():
        np.testing.assert_array_equal(again(inputs)[name], value)


def test_frozen_layers_are_saved(tmp_path: Path) -> None:
    """A file of a model with frozen layers continues its training: which layers learn is part of it."""
    case = BY_NAME["TFXLMForTokenClassification"]
    model = case.model(**{case.family.dropout[0]: 0.2})
    model.base_model.embeddings.trainable = False
    case.compiled(keras.optimizers.Adam(1e-2), model=model, run_eagerly=True)
    fit(case, model, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [weight.path for weight in again.trainable_weights] == [weight.path for weight in model.trainable_weights]
    assert fit(case, again, 1) == fit(case, model, 1)
    assert_same(again, model)


def test_a_model_without_an_optimizer_is_saved(tmp_path: Path) -> None:
    model = BY_NAME["TFXLMModel"].model()
    model.compile(optimizer=None, loss="mse", run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.compiled and again.optimizer is None and again.loss == "mse"
