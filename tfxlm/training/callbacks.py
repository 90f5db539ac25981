"""What happens beside the steps of `fit`: figures are read, losses watched, weights evaluated and saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
from keras import ops

from tfxlm.errors import TrainingError
from tfxlm.training.checkpoints import CheckpointFolder
from tfxlm.training.distribution import rows_of
from tfxlm.training.metrics import Figures
from tfxlm.training.optimizers import averaged_weights
from tfxlm.training.run import FigureTable, Run, Seconds


class RunCallback(keras.callbacks.Callback):
    """A callback that knows the state of the training.

    Args:
        run: the state.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


class Watch(RunCallback):
    """Reads the figures of each batch alone, and stops where learning has gone wrong. The first of the callbacks.

    Args:
        run: the state.
        checkpoints: what messages say to resume from.
    """

    def __init__(self, run: Run, checkpoints: CheckpointFolder) -> None:
        super().__init__(run)
        self._checkpoints = checkpoints

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Forgets the batch before."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Reads the figures.

        Raises:
            TrainingError: the loss or the gradient is not finite.
        """
        figures = Figures.of_batch(self.model.get_metrics_result())
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        norm, before = float(ops.convert_to_numpy(optimizer.gradient_norm)), self.run.gradient_norm
        if not math.isfinite(figures.loss_sum) or not math.isfinite(norm):
            raise TrainingError(self._diagnosis(figures, norm, before))
        self.run.gradient_norm = norm
        self.run.add(figures)

    def _diagnosis(self, figures: Figures, norm: float, before: float) -> str:
        run, config = self.run, self.run.config
        objective, language = run.data.plan(run.step)
        good = self._checkpoints.steps()
        way_out = (
            f"Its last good checkpoint is '{self._checkpoints.folder(good[-1])}': change the settings and resume."
            if good
            else "It has no checkpoint yet: change the settings and start again."
        )
        rate = run.learning_rate(run.step)
        half = " precision='mixed_bfloat16' or 'float32'," if config.precision == "mixed_float16" else ""
        return (
            f"Training stopped at step {run.step + 1}: the loss is {figures.loss:.4g} and the norm of the gradient "
            f"{norm:.4g}, after {before:.4g} in the step before. The batch was of {objective} on {language}, the "
            f"learning rate {rate:.3g}. What helps: a lower learning_rate (a third of {config.learning_rate:g}), more "
            f"warmup_steps (now {config.warmup_steps}), a lower clip_norm (now {config.clip_norm:g}),{half} a larger "
            f"batch_size. {way_out}"
        )


class DataClock(RunCallback):
    """Measures what share of a step is spent waiting for the batch."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts a clock before and behind each batch."""
        self._train_function = self.model.train_function
        self.model.train_function = _timed(self._train_function, self.run.seconds)

    def on_train_end(self, logs: Any = None) -> None:
        """Takes it away."""
        self.model.train_function = self._train_function


def _timed(train_function: Callable[[Any], Any], seconds: Seconds) -> Callable[[Any], Any]:
    def batches(iterator: Iterator[Any]) -> Iterator[Any]:
        begin = time.perf_counter()
        batch = next(iterator)
        seconds.waiting += time.perf_counter() - begin
        yield batch

    def step(iterator: Iterator[Any]) -> Any:
        begin, waited = time.perf_counter(), seconds.waiting
        # Of what is no iterator of TensorFlow, Keras takes the batch outside of the graph.
        logs = train_function(batches(iterator))
        # A GPU is only told what to do: the step is over where a number of it is there.
        ops.convert_to_numpy(keras.tree.flatten(logs)[0])
        seconds.learning += time.perf_counter() - begin - (seconds.waiting - waited)
        return logs

    return step


class Evaluate(RunCallback):
    """Measures how well held-out text is predicted, and stops where it gets no better."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Evaluates where it is time to."""
        run = self.run
        if run.is_due(run.config.evaluate_every):
            run.evaluated(evaluate(self.model, run))
            if run.config.patience and run.without_better >= run.config.patience:
                self.model.stop_training = True


class _ReadTest(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.figures = Figures()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.figures.add(Figures.of_batch(self.model.get_metrics_result()))


def held_out_entries(run: Run) -> list[tuple[str, str]]:
    """Returns the objectives and languages of the training of which there is held-out text."""
    entries = [(entry.objective, entry.name) for entry in run.data.entries]
    return [(objective, name) for objective, name in entries if run.data.store.part(name, "held_out").tokens]


def evaluate(model: keras.Model, run: Run) -> FigureTable:
    """Measures the prediction of held-out text.

    Args:
        model: compiled with `token_metrics`.
        run: the training; its weights are averages where it has these.

    Returns:
        Figures by objective and language, such as "mlm:en".
    """
    found = {}
    with averaged_weights(model):
        for objective, name in held_out_entries(run):
            batches = run.data.held_out(objective, name).take(run.config.evaluation_batches or -1)
            reader = _ReadTest()
            dataset = run.devices.share(partial(rows_of, batches))
            model.evaluate(dataset, steps=int(batches.cardinality()), verbose=0, callbacks=[reader])
            found[f"{objective}:{name}"] = reader.figures
    return found


class Save(RunCallback):
    """Writes checkpoints.

    Args:
        run: the state.
        checkpoints: where to.
    """

    def __init__(self, run: Run, checkpoints: CheckpointFolder) -> None:
        super().__init__(run)
        self._checkpoints = checkpoints

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes one where it is time to, where the last evaluation is the best, and at the end."""
        run = self.run
        ends = self.model.stop_training
        if run.devices.writes and (run.is_due(run.config.checkpoint_every) or run.is_best or ends):
            self._checkpoints.save(self.model, run.state(), run.step, run.best_step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes one where a callback behind this one has stopped the training."""
        run = self.run
        if run.devices.writes and run.step not in self._checkpoints.steps():
            self._checkpoints.save(self.model, run.state(), run.step, run.best_step)
