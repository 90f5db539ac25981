"""The key/value cache: what attention keeps of earlier tokens, so that a causal model reads each token once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfxlm.backend import check_range, is_concrete, known_value, register_mapping, slice_update, to_int32
from tfxlm.errors import InputError
from tfxlm.layers.memory import LayerMemory


class KeyValueCache(dict):
    """Preallocated keys and values of all layers: a dictionary that is also read by attribute.

    A cache has `max_length` slots for each row of a batch. A call puts its tokens into the slots from `length` on and
    returns a new cache; none is ever changed. No tensor changes its shape or dtype, so a cache can be an argument and
    a result of compiled functions, and a variable of loops. To go back, use an older cache, `truncated`, or the
    `cache_position` of a call.

    A model with cross-attention puts what its layers make of the encoder's states into the cache as well, at the first
    call that has these. From then on the cache's are used, whatever a call brings.

    Args:
        layer_keys, layer_values: tuples of one float tensor (batch, heads, max_length, head_dim) for each layer.
        mask: (batch, max_length) boolean, True in the slots of real tokens.
        words: (batch, max_length) boolean, True in the slots of tokens that positions count.
        length: int32 scalar, the number of slots that are filled, with real tokens or padding.
        cross_keys, cross_values: tuples of one float tensor (batch, heads, memory_length, head_dim) for each layer,
            of the encoder's states; absent before these came.
        cross_bias: float32 (batch, 1, 1, memory_length), which of them are masked; absent likewise.

    Example:
        >>> from tfxlm.layers import make_cache
        >>> cache = make_cache(2, 16, [4, 4], 8)
        >>> cache.mask.shape, len(cache.layer_keys), tuple(cache.layer_keys[0].shape)
        (TensorShape([2, 16]), 2, (2, 4, 16, 8))
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}. It has: {', '.join(self)}.")

    @property
    def max_length(self) -> Any:
        """The number of slots; an int32 scalar in a graph that does not know it."""
        return ops.shape(self.mask)[1]

    @property
    def has_memory(self) -> bool:
        """Whether the cache holds what the layers made of an encoder's states."""
        return "cross_bias" in self

    def truncated(self, length: Any) -> KeyValueCache:
        """Returns a cache without what is behind the first `length` slots, an int32 scalar.

        Raises:
            InputError: when fewer slots are filled (see `tfxlm.backend.check_range`).
        """
        message = "A cache can be truncated to at most the length it has."
        length = check_range(ops.convert_to_tensor(length, "int32"), self.length + 1, message)
        return type(self)(self, mask=_before(self.mask, length), words=_before(self.words, length), length=length)

    def take(self, rows: Any) -> KeyValueCache:
        """Returns a cache with the rows (count,) of this one, in that order; a row may be taken several times.

        Raises:
            InputError: when there is no such row (see `tfxlm.backend.check_range`).
        """
        rows = to_int32(ops.convert_to_tensor(rows))
        rows = check_range(rows, ops.shape(self.mask)[0], "The rows to take must be rows of the cache.")

        def taken(tensor: Any) -> Any:
            # The length is the one thing that all rows share.
            return tensor if tensor is self.length else ops.take(tensor, rows, axis=0)

        return keras.tree.map_structure(taken, self)

    def check(self, batch: Any, heads_per_layer: Sequence[int], head_dim: int, cross_heads: int = 0) -> None:
        """Checks that the cache fits a batch and a model, as far as shapes are known.

        Args:
            batch: rows of the call; a number where it is known.
            heads_per_layer: attention heads of each layer.
            head_dim: width of one head.
            cross_heads: heads of the cross-attention of every layer, 0 for none.

        Raises:
            InputError: when it does not.
        """
        rows = self.mask.shape[0]
        if isinstance(batch, int) and rows is not None and rows != batch:
            raise InputError(
                f"The cache has {rows} rows, but the call has {batch}. Make a cache for {batch} rows, or choose rows "
                "of this one with cache.take(rows)."
            )
        own = [(heads, self.mask.shape[1], head_dim) for heads in heads_per_layer]
        parts = [("layer_keys", own, "max_length"), ("layer_values", own, "max_length")]
        if self.has_memory:
            cross = [(cross_heads, self.cross_bias.shape[-1], head_dim)] * (len(own) if cross_heads else 0)
            parts += [("cross_keys", cross, "memory_length"), ("cross_values", cross, "memory_length")]
        for name, expected, slots in parts:
            found = [tuple(tensor.shape[1:]) for tensor in self[name]]
            if found != expected:
                raise InputError(
                    f"The cache is one of another model: its layers have the shapes (heads, {slots}, head_dim) = "
                    f"{found} in {name}, expected {expected}. Use the make_cache of the model that is called."
                )


class GrowingCache(KeyValueCache):
    """A cache that a call made because nobody gave one: calls outside graphs make it longer when it is full."""

    def grown(self, max_length: int) -> GrowingCache:
        """Returns a cache with the same tokens and more slots."""
        more = (0, max_length - self.max_length)

        def longer(tensors: Any) -> tuple[Any, ...]:
            return tuple(ops.pad(tensor, ((0, 0), (0, 0), more, (0, 0))) for tensor in tensors)

        return GrowingCache(
            self,
            layer_keys=longer(self.layer_keys),
            layer_values=longer(self.layer_values),
            mask=ops.pad(self.mask, ((0, 0), more)),
            words=ops.pad(self.words, ((0, 0), more)),
        )


register_mapping(KeyValueCache)
register_mapping(GrowingCache)


def make_cache(
    batch_size: Any, max_length: int, heads_per_layer: Sequence[int], head_dim: int, dtype: str = "float32"
) -> KeyValueCache:
    """Makes an empty cache.

    Args:
        batch_size: rows, a number or an int32 scalar.
        max_length: slots: the most tokens that a row will have, padding included. In a graph of TensorFlow it may be an
            int32 scalar.
        heads_per_layer: attention heads of each layer.
        head_dim: width of one head.
        dtype: of keys and values: the compute dtype of the layers.

    In functions compiled with XLA, nothing checks that the tokens still fit: there a cache must be long enough.

    Raises:
        InputError: when `max_length` is not a positive integer.
    """
    if is_concrete(max_length):
        if not isinstance(max_length, int | np.integer) or max_length < 1:
            raise InputError(f"A cache's max_length must be a positive integer, got {max_length!r}.")
        max_length = int(max_length)

    def empty() -> tuple[Any, ...]:
        return tuple(ops.zeros((batch_size, heads, max_length, head_dim), dtype) for heads in heads_per_layer)

    return KeyValueCache(
        layer_keys=empty(),
        layer_values=empty(),
        mask=ops.zeros((batch_size, max_length), "bool"),
        words=ops.zeros((batch_size, max_length), "bool"),
        length=ops.convert_to_tensor(0, "int32"),
    )


class LayerCache(NamedTuple):
    """One layer's part of a cache in a call.

    Args:
        keys, values: (batch, heads, max_length, head_dim), in the compute dtype of the layer.
        start: int32 scalar, the slot of the first new token.
        memory: what the layer has made of an encoder's states, or None.
    """

    keys: Any
    values: Any
    start: Any
    memory: LayerMemory | None = None

    def with_new(self, keys: Any, values: Any) -> LayerCache:
        """Puts the keys and values of the new tokens (batch, heads, new, head_dim) into their slots."""
        at = (0, 0, self.start, 0)
        return self._replace(keys=slice_update(self.keys, at, keys), values=slice_update(self.values, at, values))

    def first(self, count: int | None) -> tuple[Any, Any]:
        """Returns keys and values (batch, heads, count, head_dim) of the first `count` slots; of all for None."""
        return self.keys[:, :, :count], self.values[:, :, :count]


class CacheStep:
    """The place of one call's tokens in a cache.

    Args:
        cache: what earlier calls left.
        mask: (batch, new) boolean, True at the real ones of the new tokens.
        cache_position: the slot of the first new token, or consecutive slots (new,) of all of them, as integers; slots
            behind the new tokens are forgotten, and slots that are skipped count as padding. None takes the slots
            behind what is filled.
        words: (batch, new) boolean, True at those that positions count; the real ones by default.

    Attributes:
        start: int32 scalar, the slot of the first new token.
        positions: (new,) int32, the slots of the new tokens.
        mask: (batch, visible) boolean, True in the slots of real tokens, the new ones included. `visible` is the number
            of slots that are filled then, where it is known; else the number of all slots.
        pasts: the cache by layers.

    Raises:
        InputError: when the new tokens do not fit (in a graph, see `tfxlm.backend.check_range`), or `cache_position` is
            not as described.
    """

    def __init__(self, cache: KeyValueCache, mask: Any, cache_position: Any = None, words: Any = None) -> None:
        self.cache = cache
        new, slots = ops.shape(mask)[1], cache.max_length
        start = cache.length if cache_position is None else first_slot(cache_position, new)
        known_start, known_new = known_value(start), new if isinstance(new, int) else 0
        first = known_start or 0
        if isinstance(slots, int) and (first < 0 or first + known_new > slots):
            raise InputError(
                f"{known_new} new tokens from slot {first} on do not fit into the {slots} slots of the cache. "
                "Make a longer one, or say with cache_position which tokens to overwrite."
            )
        room = f"{slots} slots" if isinstance(slots, int) else "slots"
        start = check_range(start, slots - new + 1, f"The new tokens do not fit into the {room} of the cache.")
        # A number where it is known, so that the next call in the same graph knows it too.
        end = start + new if known_start is None else first + new
        self.length = ops.convert_to_tensor(end, "int32")
        self.start, self.positions = start, start + ops.arange(new)
        self.whole_mask = _before(slice_update(cache.mask, (0, start), mask), self.length)
        visible = known_value(self.length)
        self.mask = self.whole_mask[:, :visible]
        if visible is not None and not isinstance(slots, int):
            # Of so many slots as a graph does not know, it cannot tell that as many are left.
            self.mask = ops.reshape(self.mask, (-1, visible))
        words = mask if words is None else words
        self.whole_words = _before(slice_update(cache.words, (0, start), words), self.length)
        memories: list[LayerMemory | None] = [None] * len(cache.layer_keys)
        if cache.has_memory:
            pairs = zip(cache.cross_keys, cache.cross_values, strict=True)
            memories = [LayerMemory(keys, values, cache.cross_bias) for keys, values in pairs]
        self.pasts = tuple(
            LayerCache(keys, values, start, memory)
            for keys, values, memory in zip(cache.layer_keys, cache.layer_values, memories, strict=True)
        )

    @property
    def count_before(self) -> Any:
        """(batch,) int32, how many of the tokens in the slots before the new ones positions count."""
        return ops.sum(ops.cast(_before(self.cache.words, self.start), "int32"), axis=1)

    def finish(self, pasts: Sequence[LayerCache]) -> KeyValueCache:
        """Returns the cache with the new tokens and the memory, from what the layers made of `self.pasts`."""
        cache = type(self.cache)(
            layer_keys=tuple(past.keys for past in pasts),
            layer_values=tuple(past.values for past in pasts),
            mask=self.whole_mask,
            words=self.whole_words,
            length=self.length,
        )
        memories = [past.memory for past in pasts if past.memory is not None]
        if memories:
            cache["cross_keys"] = tuple(memory.keys for memory in memories)
            cache["cross_values"] = tuple(memory.values for memory in memories)
            cache["cross_bias"] = memories[0].bias
        return cache

    def over_all_slots(self, weights: Any) -> Any:
        """Attention weights (batch, heads, new, visible) -> (batch, heads, new, max_length), zero where nothing is."""
        return ops.pad(weights, ((0, 0), (0, 0), (0, 0), (0, self.cache.max_length - ops.shape(weights)[-1])))


def _before(mask: Any, length: Any) -> Any:
    """Clears a mask (batch, slots) from the slot `length` on: what is left there may never be looked at again."""
    return ops.logical_and(mask, ops.arange(ops.shape(mask)[1]) < length)


def first_slot(cache_position: Any, new: Any) -> Any:
    """Returns the first of consecutive slots, or the only one that is given, as int32 scalar.

    Args:
        cache_position: as a call takes it.
        new: number of new tokens.

    Raises:
        InputError: see `CacheStep`.
    """
    slots = ops.convert_to_tensor(cache_position)
    dtype = keras.backend.standardize_dtype(slots.dtype)
    shape = tuple(slots.shape)
    # Of a length that a graph does not know yet, any will do.
    expected = ((), (None,), (new,)) if isinstance(new, int) else ((), shape[:1])
    if not keras.backend.is_int_dtype(dtype) or shape not in expected:
        raise InputError(
            f"cache_position must be an integer, the slot of the first new token, or the slots ({new},) of all of "
            f"them, got {dtype} of shape {shape}."
        )
    slots = to_int32(slots)
    if shape == ():
        return slots
    order = check_range(slots - slots[0] - ops.arange(new), 1, "cache_position must be consecutive slots.")
    return slots[0] + order[0]
