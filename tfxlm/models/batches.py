"""Which labels a model takes, and what goes with each: labels and weights by name, whichever way they were given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfxlm.errors import InputError


@dataclasses.dataclass(frozen=True)
class Labels:
    """How a model takes its labels.

    Args:
        targets: the output that each label is compared with, by the label's argument.
        optional: those of them that may be left out, with the input without which each counts for nothing.
        rank: axes of labels that are ids; with one more, the last is taken for classes.
        needed_by_call: whether the call needs them for more than a loss, so that they stay among the inputs.
    """

    targets: Mapping[str, str]
    optional: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rank: int = 1
    needed_by_call: bool = False

    @property
    def required(self) -> list[str]:
        """The labels without which there is no loss."""
        return [name for name in self.targets if name not in self.optional]

    def named(self, x: Any, y: Any) -> dict[str, Any]:
        """Returns the labels of a batch by argument.

        Args:
            x: the inputs; labels may be among them.
            y: labels by argument or output, in order, or the only ones; those in `x` when it is None.

        Raises:
            InputError: when there is none, one too many, or one of another name.
        """
        found = self.inside(x) if y is None else self._by_argument(y, "y")
        if not found:
            names = " and ".join(f'x["{name}"]' for name in self.required)
            raise InputError(f"There are no labels to learn from. Give them as y, in (x, y) batches, or as {names}.")
        for name, value in found.items():
            if getattr(value.shape, "rank", 0) is None:
                raise InputError(
                    f"{name} has an unknown number of axes, as what tf.numpy_function returns has. Say its shape in "
                    f"the dataset: tf.ensure_shape({name}, [None] * {self.rank})."
                )
        useless = {name for name, companion in self.optional.items() if not _has(x, companion)}
        return {name: found[name] for name in self.targets if name in found and name not in useless}

    def inside(self, x: Any) -> dict[str, Any]:
        """Returns the labels among the inputs, by argument."""
        return {name: x[name] for name in self.targets if _has(x, name)}

    def check_complete(self, labels: Mapping[str, Any]) -> None:
        """Checks that all labels are there that a loss needs.

        Raises:
            InputError: when one is missing.
        """
        missing = [name for name in self.required if name not in labels]
        if missing:
            raise InputError(
                f"The labels have no {' and '.join(missing)}. The model learns from {' and '.join(self.required)} "
                f"together; got {', '.join(labels)}."
            )

    def weights(self, sample_weight: Any) -> dict[str, Any]:
        """Returns weights by the label's argument, whichever way they were given: nothing for None.

        Args:
            sample_weight: weights by argument or output, in order, or the same for all labels.

        Raises:
            InputError: when there is one too many, or one of another name.
        """
        if sample_weight is None:
            return {}
        if isinstance(sample_weight, Mapping) or self._is_one_each(sample_weight, "sample_weight"):
            return self._by_argument(sample_weight, "sample_weight")
        return dict.fromkeys(self.targets, _array(sample_weight))

    def by_output(self, values: Any, is_spread: bool = False) -> Any:
        """Names what `compile` was given for each output: by label, or in order.

        Args:
            values: a mapping, a list with one for each, or anything else, which stays as it is.
            is_spread: whether anything else is given to each output that is always there, as Keras does with losses,
                but not with metrics.
        """
        if isinstance(values, Mapping):
            return {self.targets.get(name, name): value for name, value in values.items()}
        is_one_each = isinstance(values, list | tuple) and len(self.required) <= len(values) <= len(self.targets)
        if is_one_each and len(self.targets) > 1:
            return dict(zip(self.targets.values(), values, strict=False))
        if is_spread and values and len(self.targets) > 1:
            each = list(values) if isinstance(values, list | tuple) else [values]
            return {self.targets[name]: [_copied(value) for value in each] for name in self.required}
        return values

    def _by_argument(self, values: Any, what: str) -> dict[str, Any]:
        if isinstance(values, Mapping):
            return {self._argument(name, what): value for name, value in values.items() if value is not None}
        if self._is_one_each(values, what):
            values = [_array(value) for value in values]
        else:
            values = [_array(values)]
            if what == "y" and len(self.required) > 1 and tuple(values[0].shape[1:]) == (len(self.required),):
                # A column for each label.
                return {name: values[0][:, column] for column, name in enumerate(self.required)}
        if len(values) > len(self.targets):
            raise InputError(
                f"{what} has {len(values)} arrays, but the model learns from {len(self.targets)}: "
                f"{', '.join(self.targets)}. Give one array for each, with a row for each example."
            )
        return dict(zip(self.targets, values, strict=False))

    def _is_one_each(self, values: Any, what: str) -> bool:
        """Whether it is a list with an array for each label, rather than one array."""
        if not isinstance(values, list | tuple):
            return False
        if all(map(_has_axes, values)):
            return True
        # Nested lists are an array each where there are several labels. A column of weights is for all of them.
        is_nested = all(isinstance(value, list | tuple) or _has_axes(value) for value in values)
        return is_nested and len(self.targets) > 1 and (what == "y" or len(values) <= len(self.targets))

    def _argument(self, name: str, what: str) -> str:
        arguments = {output: argument for argument, output in self.targets.items()}
        if name not in self.targets and name not in arguments:
            raise InputError(f"{what} has no place for {name!r}. The model learns from: {', '.join(self.targets)}.")
        return arguments.get(name, name)


def _array(value: Any) -> Any:
    return value if hasattr(value, "shape") else np.asarray(value)


def _has_axes(value: Any) -> bool:
    """Whether it is an array or tensor, of one axis or more where that is known, and not one of numpy's numbers."""
    shape = getattr(value, "shape", None)
    return shape is not None and (getattr(shape, "rank", 1) is None or len(shape) > 0)


def _copied(metric: Any) -> Any:
    """A metric has a state, so that no two outputs can share it."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric


def _has(x: Any, name: str) -> bool:
    return isinstance(x, Mapping) and x.get(name) is not None
