"""Initializers that transformers need beside Keras's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class NormalWithZeroRow(keras.initializers.RandomNormal):
    """Normally distributed rows, and one row of zeros: the padding token's in a word table.

    Args:
        stddev: standard deviation.
        row: index of the zero row.
    """

    def __init__(self, stddev: float, row: int) -> None:
        super().__init__(stddev=stddev)
        self.row = row

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns the values."""
        keep = ops.not_equal(ops.arange(shape[0]), self.row)[:, None]
        return super().__call__(shape, dtype) * ops.cast(keep, dtype or keras.backend.floatx())

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"stddev": self.stddev, "row": self.row}


class Table(keras.initializers.Initializer):
    """Fixed values.

    Args:
        values: array of the variable's shape.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns the values."""
        return ops.reshape(ops.convert_to_tensor(self.values, dtype=dtype), shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"values": self.values.tolist()}
