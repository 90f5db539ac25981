"""What cross-attention attends to: the states of an encoder."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from tfxlm.layers.masks import attention_bias
from tfxlm.layers.padding import AllRows, Rows, choose_rows


# Not a tuple: Keras would look into it, and refuses tensors beside what is none.
@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """The states of an encoder, for the cross-attention of all layers; see `make_memory`.

    Args:
        states: (rows, dim).
        rows: the layout of these rows.
        bias: float32 (batch, 1, 1, memory_length), to add to the scores.
    """

    states: Any
    rows: Rows
    bias: Any


class LayerMemory(NamedTuple):
    """What one layer makes of a memory, the same for every token that attends to it.

    Args:
        keys, values: (batch, heads, memory_length, head_dim), in the compute dtype of the layer.
        bias: float32 (batch, 1, 1, memory_length), to add to the scores.
    """

    keys: Any
    values: Any
    bias: Any


def make_memory(encoder_hidden_states: Any, encoder_attention_mask: Any = None) -> Memory:
    """Makes a memory of the last hidden states of an encoder.

    Args:
        encoder_hidden_states: float (batch, memory_length, dim).
        encoder_attention_mask: (batch, memory_length), not zero at real positions; None where all are.

    Returns:
        The memory, without its padding where that can be left out.
    """
    if encoder_attention_mask is None:
        mask = ops.ones(ops.shape(encoder_hidden_states)[:2], "bool")
        rows: Rows = AllRows(mask)
    else:
        mask = ops.not_equal(encoder_attention_mask, 0)
        rows = choose_rows(mask, remove_padding=True)
    return Memory(rows.pack(encoder_hidden_states), rows, attention_bias(mask))
