"""What calls of decoders make of caches and masks, before the body sees them."""

from __future__ import annotations

from typing import Any

from keras import ops

from tfxlm.backend import check_range, known_value, slice_update
from tfxlm.errors import InputError
from tfxlm.layers import GrowingCache, KeyValueCache, first_slot

# Slots are made for this many tokens more than there are, in multiples of it.
_HEADROOM = 64


def slots_for(tokens: Any, longest: int) -> int:
    """Returns how many slots a cache gets that nobody asked for.

    Args:
        tokens: in the cache after the call; a number where it is known.
        longest: the most real tokens of a sequence; padding may make `tokens` more.
    """
    if not isinstance(tokens, int):
        return longest
    with_headroom = (-(-tokens // _HEADROOM) + 1) * _HEADROOM
    return max(tokens, min(with_headroom, longest))


def fitted(cache: KeyValueCache, words: Any, mask: Any, cache_position: Any, longest: int) -> tuple[KeyValueCache, Any]:
    """Fits a cache and a mask to a call.

    Args:
        cache: of the earlier tokens.
        words: (batch, new, ...), the new tokens.
        mask: (batch, new), or (batch, earlier and new) as scripts for `transformers` give it; or None.
        cache_position: as the call takes it.
        longest: see `slots_for`.

    Returns:
        A cache with room for the new tokens, if it is one that grows, and the mask of the earlier ones; and the mask
        of the new ones.

    Raises:
        InputError: when the mask has another width (where a graph learns it only when it runs, see
            `tfxlm.backend.check_range`), or `cache_position` is no slot.
    """
    new = ops.shape(words)[1]
    first = cache.length if cache_position is None else first_slot(cache_position, new)
    start = known_value(first)
    if isinstance(cache, GrowingCache) and start is not None and isinstance(new, int):
        end = start + new
        cache = cache.grown(slots_for(end, longest)) if end > cache.max_length else cache
    if mask is None or len(mask.shape) != 2:
        return cache, mask
    return _split(cache, words, mask, first, new)


def _split(cache: KeyValueCache, words: Any, mask: Any, first: Any, new: Any) -> tuple[KeyValueCache, Any]:
    """Takes the mask of earlier and new tokens apart, of which those from the slot `first` on are new."""
    width, start = ops.shape(mask)[1], known_value(first)
    if width is None or new is None or (isinstance(width, int) and isinstance(new, int) and width == new):
        return cache, mask
    count, tokens = "earlier ones" if start is None else start, new if isinstance(new, int) else "(new)"
    message = (
        f"attention_mask must be as wide as the {tokens} new tokens, or as these and the {count} in the cache together"
    )
    before = width - new
    if isinstance(before, int) and (not 0 <= before <= cache.max_length or (start is not None and before != start)):
        raise InputError(f"{message}; got shape {tuple(mask.shape)}.")
    # Where only the run tells the widths, the mask may turn out to be that of the new tokens.
    is_whole = ops.not_equal(before, 0)
    before = before + check_range(ops.where(is_whole, before - first, 0), 1, f"{message}.")
    batch = ops.shape(mask)[0]
    seen = ops.zeros((batch, cache.max_length), "bool")
    seen = slice_update(seen, (0, 0), ops.not_equal(mask[:, :before], 0))
    # Slots that were skipped hold no token.
    seen = ops.logical_and(seen, ops.arange(cache.max_length) < cache.length)
    own = ops.reshape(mask[:, before:], ops.shape(words)[:2])
    return type(cache)(cache, mask=ops.where(is_whole, seen, cache.mask)), own
