"""A stack of transformer blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from tfxlm.errors import InputError
from tfxlm.layers.block import TransformerBlock
from tfxlm.layers.cache import LayerCache
from tfxlm.layers.layer import Layer
from tfxlm.layers.memory import Memory
from tfxlm.layers.normalization import LayerNormalization
from tfxlm.layers.padding import ChosenRows, Rows
from tfxlm.layers.relative_positions import distance_rows


class Encoded(NamedTuple):
    """What an encoder returns.

    Args:
        x: the hidden states (rows, dim), of `chosen` where it is given.
        hidden_states: tuple of layers + 1 hidden states (batch, length, dim), or None.
        attentions: tuple of layers attention weights (batch, heads, query, key), or None.
        cross_attentions: tuple of layers cross-attention weights (batch, heads, query, memory_length), or None.
        pasts: what was given, with the new tokens and the memory in it, or None.
    """

    x: Any
    hidden_states: tuple[Any, ...] | None
    attentions: tuple[Any, ...] | None
    cross_attentions: tuple[Any, ...] | None
    pasts: tuple[LayerCache, ...] | None


class TransformerEncoder(Layer):
    """Blocks applied one after the other, with what they produced on the way when it is asked for.

    Args:
        num_layers: number of blocks.
        final_norm: whether a normalisation follows the last block (pre-LN models).
        num_heads: heads of each block: one number, or one for each block (pruned models).
        dim, norm_epsilon, relative_positions, max_positions, cross_attention: see `TransformerBlock`.
        **block: further arguments of every `TransformerBlock`.

    Call arguments:
        x: (rows, dim).
        rows: the layout of the rows.
        bias: see `MultiHeadAttention`.
        head_mask: (heads,) or (layers, heads), 1 keeps a head and 0 silences it; or None.
        pasts: of each block what earlier calls left (see `MultiHeadAttention`), or None.
        chosen: the layout of the only positions that are wanted in the end, from `rows.choose`; None for all.
        places: (length,) int32, where the tokens are among the keys: their columns, or their slots in a cache;
            0, 1, 2, ... by default. Only relative positions need them.
        memory: what cross-attention attends to, from `make_memory`; None leaves cross-attention out. What `pasts` have
            of a memory is used in its place.
        output_hidden_states, output_attentions: whether to return them, the latter of both kinds.

    Returns:
        `Encoded`.

    Raises:
        InputError: when there is a memory and no cross-attention, or relative positions do not reach over all keys (in
            a graph, see `tfxlm.backend.check_range`).
    """

    def __init__(
        self,
        num_layers: int,
        dim: int,
        num_heads: int | list[int],
        *,
        final_norm: bool = False,
        norm_epsilon: float = 1e-12,
        relative_positions: str | None = None,
        max_positions: int | None = None,
        cross_attention: bool = False,
        name: str | None = None,
        dtype: Any = None,
        **block: Any,
    ) -> None:
        # Without autocast, as in `MultiHeadAttention`.
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.dim, self.cross_attention = dim, cross_attention
        self.max_positions = None if relative_positions is None else max_positions
        heads = [num_heads] * num_layers if isinstance(num_heads, int) else num_heads
        self.blocks = [
            TransformerBlock(
                dim,
                heads[i],
                norm_epsilon=norm_epsilon,
                relative_positions=relative_positions,
                max_positions=max_positions,
                cross_attention=cross_attention,
                name=f"block_{i}",
                dtype=self.dtype_policy,
                **block,
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
        places: Any = None,
        memory: Memory | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        training: bool | None = None,
    ) -> Encoded:
        """Applies the blocks; see the class."""
        if memory is not None and not self.cross_attention:
            raise InputError(
                "The call has a memory, but the encoder has no cross-attention to attend to it. Make the encoder with "
                "cross_attention=True, or leave the memory out."
            )
        # What other positions are after the last block is nobody's business, unless it is asked for.
        asked = output_hidden_states or output_attentions or pasts is not None
        early = None if asked or not self.blocks else chosen
        distances = self._distances(rows, bias, places, None)
        states, attentions, cross_attentions, extended = [], [], [], []
        for index, block in enumerate(self.blocks):
            if output_hidden_states:
                states.append(rows.reveal(x))
            only = early if index == len(self.blocks) - 1 else None
            x, weights, cross_weights, past = block(
                x,
                rows=rows,
                bias=bias if only is None else only.take_queries(bias),
                head_mask=_mask_of_layer(head_mask, index),
                past=None if pasts is None else pasts[index],
                chosen=only,
                distances=distances if only is None else self._distances(rows, bias, places, only),
                memory=memory,
                training=training,
            )
            extended.append(past)
            if output_attentions:
                attentions.append(weights)
                cross_attentions.append(cross_weights)
        if self.final_norm is not None:
            x = self.final_norm(x, rows=rows if early is None else early)
        if output_hidden_states:
            states.append(rows.reveal(x))
        if chosen is not None and early is None:
            x = chosen.take(x)
        return Encoded(
            x,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
            cross_attentions=tuple(cross_attentions) if any(it is not None for it in cross_attentions) else None,
            pasts=None if pasts is None else tuple(extended),
        )

    def _distances(self, rows: Rows, bias: Any, places: Any, chosen: ChosenRows | None) -> Any:
        """Returns the distances of queries and keys, the same in all layers, or None where none are needed."""
        if self.max_positions is None:
            return None
        places = (ops.arange(rows.length) if places is None else places)[None]
        if chosen is not None:
            places = chosen.take_places(places)
        return distance_rows(places, rows.length if bias is None else ops.shape(bias)[-1], self.max_positions)


def _mask_of_layer(head_mask: Any, index: int) -> Any:
    if head_mask is None:
        return None
    heads = head_mask if len(head_mask.shape) == 1 else head_mask[index]
    return ops.reshape(heads, (1, -1, 1, 1))  # (batch, heads, query, key)
