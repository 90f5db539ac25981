"""A stack of transformer blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfxlm.layers.block import TransformerBlock
from tfxlm.layers.cache import LayerCache
from tfxlm.layers.normalization import LayerNormalization
from tfxlm.layers.padding import ChosenRows, Rows


class TransformerEncoder(keras.layers.Layer):
    """Blocks applied one after the other, with what they produced on the way when it is asked for.

    Args:
        num_layers: number of blocks.
        final_norm: whether a normalisation follows the last block (pre-LN models).
        num_heads: heads of each block: one number, or one for each block (pruned models).
        dim, norm_epsilon: see `TransformerBlock`.
        **block: further arguments of every `TransformerBlock`.

    Call arguments:
        x: (rows, dim).
        rows: the layout of the rows.
        bias: see `MultiHeadAttention`.
        head_mask: (heads,) or (layers, heads), 1 keeps a head and 0 silences it; or None.
        pasts: of each block what earlier calls left (see `MultiHeadAttention`), or None.
        chosen: the layout of the only positions that are wanted in the end, from `rows.choose`; None for all.
        output_hidden_states, output_attentions: whether to return them.

    Returns:
        The hidden states (rows, dim), of `chosen` where it is given; a tuple of `num_layers` + 1 hidden states (batch,
        length, dim), or None; a tuple of `num_layers` attention weights (batch, heads, query, key), or None; and
        `pasts` with the new tokens in them, or None.
    """

    def __init__(
        self,
        num_layers: int,
        dim: int,
        num_heads: int | list[int],
        *,
        final_norm: bool = False,
        norm_epsilon: float = 1e-12,
        name: str | None = None,
        dtype: Any = None,
        **block: Any,
    ) -> None:
        # Without autocast, as in `MultiHeadAttention`.
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.dim = dim
        heads = [num_heads] * num_layers if isinstance(num_heads, int) else num_heads
        self.blocks = [
            TransformerBlock(
                dim, heads[i], norm_epsilon=norm_epsilon, name=f"block_{i}", dtype=self.dtype_policy, **block
            )
            for i in range(num_layers)
        ]
        self.final_norm = (
            LayerNormalization(epsilon=norm_epsilon, name="final_norm", dtype=self.dtype_policy) if final_norm else None
        )

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables."""
        for block in self.blocks:
            block.build()
        if self.final_norm is not None:
            self.final_norm.build((None, self.dim))
        self.built = True

    def call(
        self,
        x: Any,
        rows: Rows,
        bias: Any = None,
        head_mask: Any = None,
        pasts: Sequence[LayerCache] | None = None,
        chosen: ChosenRows | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> tuple[Any, tuple[Any, ...] | None, tuple[Any, ...] | None, tuple[LayerCache, ...] | None]:
        """Applies the blocks; see the class."""
        # What other positions are after the last block is nobody's business, unless it is asked for.
        asked = output_hidden_states or output_attentions or pasts is not None
        early = None if asked or not self.blocks else chosen
        states, attentions, extended = [], [], []
        for index, block in enumerate(self.blocks):
            if output_hidden_states:
                states.append(rows.reveal(x))
            only = early if index == len(self.blocks) - 1 else None
            x, weights, past = block(
                x,
                rows=rows,
                bias=bias if only is None else only.take_queries(bias),
                head_mask=_mask_of_layer(head_mask, index),
                past=None if pasts is None else pasts[index],
                chosen=only,
                training=training,
            )
            extended.append(past)
            if output_attentions:
                attentions.append(weights)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if output_hidden_states:
            states.append(rows.reveal(x))
        if chosen is not None and early is None:
            x = chosen.take(x)
        return (
            x,
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
            None if pasts is None else tuple(extended),
        )


def _mask_of_layer(head_mask: Any, index: int) -> Any:
    if head_mask is None:
        return None
    heads = head_mask if len(head_mask.shape) == 1 else head_mask[index]
    return ops.reshape(heads, (1, -1, 1, 1))  # (batch, heads, query, key)
