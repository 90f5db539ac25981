"""Padding removal: position-wise layers work on rows, and a layout says which positions the rows are.

Most of a transformer treats each position alone. Those layers run on a rank-2 tensor (rows, dim): on CPU that keeps
the fused matmul + bias + activation kernels, and it lets padding be left out, which is most of the work in a batch of
real sentences. Only attention needs the (batch, length) grid, and a layout takes tensors there and back.
"""

from __future__ import annotations

from typing import Any, Protocol

from keras import ops

from tfxlm import backend


class Rows(Protocol):
    """A layout: how the positions of a (batch, length) grid are laid out as rows."""

    def pack(self, grid: Any) -> Any:
        """(batch, length, ...) -> (rows, ...)."""

    def unpack(self, rows: Any) -> Any:
        """(rows, dim) -> (batch, length, dim); padding may hold anything."""

    def reveal(self, rows: Any) -> Any:
        """(rows, dim) -> (batch, length, dim) for the caller of the model: padding is zero."""


class AllRows:
    """Every position is a row, in order.

    Args:
        mask: (batch, length) boolean, True at real positions.
    """

    def __init__(self, mask: Any) -> None:
        self.mask = mask
        self.batch, self.length = ops.shape(mask)

    def pack(self, grid: Any) -> Any:
        """(batch, length, ...) -> (batch * length, ...)."""
        return ops.reshape(grid, (-1, *grid.shape[2:]))

    def unpack(self, rows: Any) -> Any:
        """(batch * length, dim) -> (batch, length, dim)."""
        return ops.reshape(rows, (self.batch, self.length, rows.shape[-1]))

    def reveal(self, rows: Any) -> Any:
        """(batch * length, dim) -> (batch, length, dim), zero at padding."""
        grid = self.unpack(rows)
        return ops.where(self.mask[:, :, None], grid, ops.zeros_like(grid))


class RealRows(AllRows):
    """Only the positions where `mask` is set are rows, in order. For TensorFlow outside XLA.

    Both ways are gathers, in the gradient too: each real position has one row, so the way back undoes the way there,
    and nothing needs to be scattered or summed, which takes several times as long.

    Args:
        mask: (batch, length) boolean.
    """

    def __init__(self, mask: Any) -> None:
        super().__init__(mask)
        # The first position is always a row: a batch of nothing but padding must leave something to gather from.
        real = ops.reshape(mask, (-1,)) | (ops.arange(self.batch * self.length) == 0)
        self.positions = ops.cast(ops.nonzero(real)[0], "int32")  # (rows,), where each row stands
        # (batch * length,), the row of each position; of padding, the row before it.
        self.rows = ops.maximum(ops.cumsum(ops.cast(real, "int32")) - 1, 0)

    def pack(self, grid: Any) -> Any:
        """(batch, length, ...) -> (real positions, ...)."""
        flat = super().pack(grid)
        if not backend.is_float(flat):
            return backend.gather(flat, self.positions)
        return backend.gather(flat, self.positions, self._back_to_grid)

    def unpack(self, rows: Any) -> Any:
        """(real positions, dim) -> (batch, length, dim)."""
        # What stands at padding is masked as a key and dropped as a query, so no gradient comes back from there.
        flat = backend.gather(rows, self.rows, lambda gradient: backend.gather(gradient, self.positions))
        return super().unpack(flat)

    def _back_to_grid(self, gradient: Any) -> Any:
        flat = backend.gather(gradient, self.rows)
        real = ops.reshape(self.mask, (-1,) + (1,) * (len(flat.shape) - 1))
        return ops.where(real, flat, ops.zeros_like(flat))


def choose_rows(mask: Any, *, remove_padding: bool) -> Rows:
    """Chooses the layout for a batch.

    Args:
        mask: (batch, length) boolean, True at real positions.
        remove_padding: whether padding may be left out. It is kept anyway where the number of rows must be known
            before the data is (XLA, JAX).
    """
    if remove_padding and backend.can_find_rows():
        return RealRows(mask)
    return AllRows(mask)
