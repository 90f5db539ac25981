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

    mask: Any  # (batch, length) boolean, True at real positions
    length: Any

    def pack(self, grid: Any) -> Any:
        """(batch, length, ...) -> (rows, ...)."""

    def split_heads(self, rows: Any, num_heads: int) -> Any:
        """(rows, heads * head_dim) -> (batch, heads, length, head_dim); padding may hold anything."""

    def merge_heads(self, heads: Any) -> Any:
        """(batch, heads, length, head_dim) -> (rows, heads * head_dim)."""

    def reveal(self, rows: Any) -> Any:
        """(rows, dim) -> (batch, length, dim) for the caller of the model: padding is zero."""

    def choose(self, positions: Any) -> ChosenRows:
        """Returns a layout of only these positions, integers (batch, P), which may repeat."""


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

    def split_heads(self, rows: Any, num_heads: int) -> Any:
        """(batch * length, heads * head_dim) -> (batch, heads, length, head_dim)."""
        head_dim = rows.shape[-1] // num_heads
        return ops.transpose(ops.reshape(rows, (self.batch, self.length, num_heads, head_dim)), (0, 2, 1, 3))

    def merge_heads(self, heads: Any) -> Any:
        """(batch, heads, length, head_dim) -> (batch * length, heads * head_dim)."""
        _, num_heads, _, head_dim = heads.shape
        return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, num_heads * head_dim))

    def reveal(self, rows: Any) -> Any:
        """(batch * length, dim) -> (batch, length, dim), zero at padding."""
        grid = self.unpack(rows)
        return ops.where(self.mask[:, :, None], grid, ops.zeros_like(grid))

    def choose(self, positions: Any) -> ChosenRows:
        """Returns a layout of only these positions, integers (batch, P), which may repeat."""
        return ChosenRows(self, positions)

    def rows_at(self, positions: Any) -> Any:
        """Returns which rows stand at positions (batch, P), as (batch * P,) integers; of padding, any."""
        return ops.reshape(ops.arange(self.batch)[:, None] * self.length + positions, (-1,))


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

    def split_heads(self, rows: Any, num_heads: int) -> Any:
        """(real positions, heads * head_dim) -> (batch, heads, length, head_dim)."""
        # One gather of single heads does what `unpack` and a transpose would do in two passes.
        return backend.gather(
            ops.reshape(rows, (-1, rows.shape[-1] // num_heads)),
            self._rows_of_heads(num_heads),
            lambda gradient: _flat(backend.gather(_flat(gradient), self._heads_of_rows(num_heads))),
        )

    def merge_heads(self, heads: Any) -> Any:
        """(batch, heads, length, head_dim) -> (real positions, heads * head_dim)."""
        _, num_heads, _, head_dim = heads.shape

        def back_to_heads(gradient: Any) -> Any:
            grid = backend.gather(_flat(gradient), self._rows_of_heads(num_heads))
            return _flat(ops.where(self.mask[:, None, :, None], grid, ops.zeros_like(grid)))

        rows = backend.gather(_flat(heads), self._heads_of_rows(num_heads), back_to_heads)
        return ops.reshape(rows, (-1, num_heads * head_dim))

    def rows_at(self, positions: Any) -> Any:
        """Returns which rows stand at positions (batch, P), as (batch * P,) integers; of padding, any."""
        return backend.gather(self.rows, super().rows_at(positions))

    def _rows_of_heads(self, num_heads: int) -> Any:
        """Returns where each head of each position is among the single heads of the rows: (batch, heads, length)."""
        grid = ops.reshape(self.rows, (self.batch, 1, self.length))
        return grid * num_heads + ops.arange(num_heads)[:, None]

    def _heads_of_rows(self, num_heads: int) -> Any:
        """Returns the reverse (rows, heads): where each head of each row is among those of (batch, heads, length)."""
        batch, position = self.positions // self.length, self.positions % self.length
        # Shaped by what TensorFlow's optimizer follows, as no slice is: it adds `x + attention(x)` within the matrix
        # product that makes the second when it can tell that both have as many rows.
        batch, position = ops.expand_dims(batch, -1), ops.expand_dims(position, -1)
        return (batch * num_heads + ops.arange(num_heads)) * self.length + position

    def _back_to_grid(self, gradient: Any) -> Any:
        flat = backend.gather(gradient, self.rows)
        real = ops.reshape(self.mask, (-1,) + (1,) * (len(flat.shape) - 1))
        return ops.where(real, flat, ops.zeros_like(flat))


class ChosenRows(AllRows):
    """Only chosen positions of each sequence are rows: all that the last block of a transformer has to compute.

    Args:
        rows: the layout of all positions.
        positions: (batch, P) integers, which may repeat.
    """

    def __init__(self, rows: AllRows, positions: Any) -> None:
        super().__init__(ops.take_along_axis(rows.mask, positions, axis=1))
        self._positions, self._rows = positions, rows.rows_at(positions)

    def take(self, x: Any) -> Any:
        """(rows of the whole layout, dim) -> (batch * P, dim)."""
        return ops.take(x, self._rows, axis=0)

    def take_queries(self, bias: Any) -> Any:
        """Attention bias (batch, 1, query or 1, key) -> (batch, 1, P or 1, key)."""
        if bias is None or bias.shape[2] == 1:
            return bias
        return ops.take_along_axis(bias, self._positions[:, None, :, None], axis=2)

    def take_places(self, places: Any) -> Any:
        """Places of all queries (1, query) -> (batch, P)."""
        return ops.take(places[0], self._positions, axis=0)


def _flat(heads: Any) -> Any:
    """(..., head_dim) -> (single heads, head_dim)."""
    return ops.reshape(heads, (-1, heads.shape[-1]))


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
