"""Training data as Keras wants it: labels beside the inputs, weights for each label, whatever the data is."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfxlm.errors import InputError
from tfxlm.models.batches import Labels

Batch = tuple[Any, Any, Any]


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """Brings batches into one form before Keras sees them.

    Keras drops `sample_weight` and fails on `class_weight` when there is no y, and a model that finds labels among its
    inputs computes a loss that Keras computes again.

    Args:
        labels: which labels the model takes.
        inputs: names of the call's arguments by position.
    """

    labels: Labels
    inputs: tuple[str, ...]

    def named(self, x: Any) -> Any:
        """Returns inputs in a list or tuple by name; others as they are."""
        if not isinstance(x, list | tuple):
            return x
        return {name: value for name, value in zip(self.inputs, x, strict=False) if value is not None}

    def batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None
    ) -> Batch:
        """Moves labels out of the inputs (or, where the call needs them, into them), and class weights into others.

        Args:
            x: arrays, one or several by name or in order.
            y: labels, or None.
            sample_weight, class_weight: as Keras takes them.

        Returns:
            The same batch as x, y and sample_weight.

        Raises:
            InputError: when there are weights of both kinds, or class weights for several labels.
        """
        x = self.named(x)
        if y is None and not self.labels.inside(x):
            return x, None, sample_weight
        labels = self.labels.named(x, y)
        if isinstance(x, Mapping):
            x = {name: value for name, value in x.items() if name not in self.labels.targets}
        if self.labels.needed_by_call:
            x = {**(x if isinstance(x, Mapping) else {self.inputs[0]: x}), **labels}
        is_one = len(self.labels.targets) == 1
        if class_weight:
            if sample_weight is not None or not is_one:
                raise InputError(
                    "class_weight needs a model with one kind of label, and no sample_weight beside it. Give one "
                    "weight to each row: sample_weight."
                )
            sample_weight = self._weights(next(iter(labels.values())), class_weight)
        weights = self.labels.weights(sample_weight)
        if is_one:
            return x, next(iter(labels.values())), next(iter(weights.values()), None)
        return x, labels, {name: weights.get(name, _ones(labels[name])) for name in labels} if weights else None

    def _weights(self, labels: Any, class_weight: Mapping[int, float]) -> Any:
        """The weight of each label, as Keras gives them: 1 for classes without one, and for -100."""
        math = _array_functions(labels)
        # The last place of the table is that of all classes without a weight.
        others = max(map(int, class_weight)) + 1
        table = np.ones(others + 1, np.float32)
        for index, weight in class_weight.items():
            table[int(index)] = weight
        if len(labels.shape) > self.labels.rank:
            labels = labels[..., 0] if labels.shape[-1] == 1 else math.argmax(labels, axis=-1)
        labels = math.asarray(labels, dtype=np.int32)
        return math.take(table, math.where(math.logical_and(labels >= 0, labels < others), labels, others))

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arranges the arguments of a Keras method that trains or tests.

        Args:
            given: arguments of the method, by name.

        Returns:
            The arguments to give to it.
        """
        arguments = dict(given)
        x, class_weight = arguments.get("x"), arguments.get("class_weight")
        if yields_batches(x):
            arguments["x"] = self._stream(x, class_weight)
            arguments.pop("class_weight", None)
        elif _is_arrays(x):
            whole = self.batch(*[arguments.pop(name, None) for name in ("x", "y", "sample_weight", "class_weight")])
            arguments |= dict(zip(("x", "y", "sample_weight"), whole, strict=True))
        validation = arguments.get("validation_data")
        if yields_batches(validation):
            arguments["validation_data"] = self._stream(validation)
        elif _is_arrays(validation):
            arguments["validation_data"] = self.element(validation)
        return arguments

    def element(self, element: Any, class_weight: Mapping[int, float] | None = None) -> tuple[Any, ...]:
        """Arranges what a stream of batches yields: x, (x,), (x, y) or (x, y, sample_weight)."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(element)
        x, y, sample_weight = self.batch(x, y, sample_weight, class_weight)
        return (x, y, sample_weight)[: 3 if sample_weight is not None else 2 if y is not None else 1]

    def _stream(self, data: Any, class_weight: Mapping[int, float] | None = None) -> Any:
        if isinstance(data, keras.utils.PyDataset):
            return _ArrangedBatches(data, self, class_weight)
        if isinstance(data, types.GeneratorType):
            return (self.element(element, class_weight) for element in data)
        # The parts of a tuple come as arguments, and anything else as the only one.
        return data.map(lambda *parts: self.element(parts, class_weight))


class _ArrangedBatches(keras.utils.PyDataset):
    """The batches of a `keras.utils.PyDataset`, arranged."""

    def __init__(
        self, data: keras.utils.PyDataset, arrangement: Arrangement, class_weight: Mapping[int, float] | None
    ) -> None:
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self.data, self.arrangement, self.class_weight = data, arrangement, class_weight

    @property
    def num_batches(self) -> int | None:
        """How many batches there are, None for no end."""
        return self.data.num_batches

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Returns a batch."""
        return self.arrangement.element(self.data[index], self.class_weight)

    def on_epoch_begin(self) -> None:
        """Tells the data."""
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Tells the data."""
        self.data.on_epoch_end()


def yields_batches(data: Any) -> bool:
    """Whether data is one of those that give batch after batch and can be arranged on the way."""
    return _is_dataset(data) or isinstance(data, keras.utils.PyDataset | types.GeneratorType)


def _ones(labels: Any) -> Any:
    return _array_functions(labels).ones_like(labels, dtype=np.float32)


def _is_arrays(data: Any) -> bool:
    return isinstance(data, Mapping | list | tuple) or hasattr(data, "shape")


def _is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`, which Keras takes on any backend."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(value, tensorflow.data.Dataset)


def _array_functions(array: Any) -> Any:
    """Returns what has numpy's functions for an array: numpy, or TensorFlow's double for tensors of a `tf.data` map."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow.experimental.numpy if tensorflow is not None and tensorflow.is_tensor(array) else np
