"""A dense layer that is built before it is called."""

from __future__ import annotations

from typing import Any

from tfxlm.layers.adaptable import Dense


class Projection(Dense):
    """A dense layer that knows the width of its input.

    Args:
        dim: width of the input.
        units: width of the output.
        **kwargs: further arguments of `keras.layers.Dense`.
    """

    def __init__(self, dim: int, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.dim = dim

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        super().build((None, self.dim))
