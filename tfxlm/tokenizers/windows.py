"""Cuts texts that are too long, and makes windows of what is cut off."""

from collections.abc import Sequence

from tfxlm.errors import InputError
from tfxlm.tokenizers.lengths import DO_NOT_TRUNCATE, LONGEST_FIRST, ONLY_FIRST, ONLY_SECOND, Lengths

#: Start and end of the tokens of each text that are in a row; None for a second text that there is not.
Window = tuple[tuple[int, int], tuple[int, int] | None]


def cut(lengths: Lengths, first: int, second: int | None, excess: int) -> tuple[int, int | None]:
    """Says how many tokens a text or a pair keeps.

    Args:
        lengths: the strategy.
        first: tokens of the text.
        second: tokens of the second text, or None.
        excess: how many tokens have to go.

    Returns:
        How many stay of both.

    Raises:
        InputError: the strategy cannot cut that much.
    """
    if excess <= 0 or lengths.truncation == DO_NOT_TRUNCATE:
        return first, second
    if lengths.truncation == ONLY_SECOND:
        if second is None:
            raise InputError(
                f"truncation='only_second' has to cut {excess} tokens, but there is no second text. Pass text_pair, "
                "or truncation='only_first'."
            )
        return first, _rest(lengths, second, excess, "second")
    if lengths.truncation == ONLY_FIRST or second is None:
        return _rest(lengths, first, excess, "first"), second
    if excess > first + second:
        raise InputError(
            f"max_length={lengths.max_length} has no room for the special tokens of a pair: {excess} tokens have to "
            f"go, but both texts have {first + second}. Raise max_length."
        )
    from_first, from_second = _shares(first, second, excess)
    return first - from_first, second - from_second


def windows(lengths: Lengths, first: int, second: int | None, frame: int, overflow: bool) -> list[Window]:
    """Says which tokens of a text or a pair each of its rows has.

    Args:
        lengths: strategy, side, most tokens of a row, and tokens that windows share.
        first: tokens of the text.
        second: tokens of the second text, or None.
        frame: special tokens in each row.
        overflow: whether what is cut off comes back in further windows. A text that is not cut is whole in each of
            them; where both are cut, every window of one meets every window of the other.

    Raises:
        InputError: the strategy cannot cut that much, or windows would not move on.
    """
    excess = 0
    if lengths.max_length is not None and lengths.truncation != DO_NOT_TRUNCATE:
        excess = first + (second or 0) + frame - lengths.max_length
        if overflow and lengths.stride:  # refused whatever the texts are
            _step(lengths.max_length - frame, lengths)
    if excess <= 0:
        return [((0, first), None if second is None else (0, second))]
    kept = cut(lengths, first, second, excess)
    of_first = _spread(first, kept[0], lengths, overflow)
    if second is None or kept[1] is None:
        return [(window, None) for window in of_first]
    of_second = _spread(second, kept[1], lengths, overflow)
    # The order of `transformers`' fast tokenizers: what the first window lacks of the first text comes first.
    order = [(index, other) for index in range(1, len(of_first)) for other in range(len(of_second))]
    order = [(0, 0), *order, *((0, other) for other in range(1, len(of_second)))]
    return [(of_first[index], of_second[other]) for index, other in order]


def truncate(
    lengths: Lengths, first: Sequence[int], second: Sequence[int] | None, excess: int
) -> tuple[list[int], list[int] | None, list[int]]:
    """Cuts ids, and returns what stays of both texts and the overflow of the one that is cut.

    Args:
        lengths: strategy, side, and tokens that the overflow shares with what stays.
        first: ids of the text.
        second: ids of the second text, or None.
        excess: how many tokens have to go.

    Returns:
        The ids that stay of both, and the overflow; none where ``"longest_first"`` cuts a pair.

    Raises:
        InputError: the strategy cannot cut that much.
    """
    left = lengths.truncation_side == "left"
    kept = cut(lengths, len(first), None if second is None else len(second), excess)
    texts = [list(first), None if second is None else list(second)]
    overflow: list[int] = []
    for index, (ids, count) in enumerate(zip(texts, kept, strict=True)):
        if ids is None or count is None or count == len(ids):
            continue
        lost = len(ids) - count
        if second is None or lengths.truncation != LONGEST_FIRST:
            shared = min(len(ids), lengths.stride + lost)
            overflow = ids[:shared] if left else ids[len(ids) - shared :]
        texts[index] = ids[lost:] if left else ids[:count]
    return texts[0] or [], texts[1], overflow


def _spread(size: int, length: int, lengths: Lengths, overflow: bool) -> list[tuple[int, int]]:
    """Lays windows of a length over a text; on the right side they begin with the first tokens."""
    starts = [0]
    if overflow and length < size:
        step = _step(length, lengths)
        starts = list(range(0, size - length + step, step))
    ends = [min(start + length, size) for start in starts]
    if lengths.truncation_side == "left":
        return [(size - end, size - start) for start, end in zip(starts, ends, strict=True)]
    return list(zip(starts, ends, strict=True))


def _step(length: int, lengths: Lengths) -> int:
    """Returns how far each window of a length goes beyond the one before."""
    if length <= lengths.stride:
        raise InputError(
            f"stride={lengths.stride} is too large: max_length={lengths.max_length} leaves {max(length, 0)} tokens of "
            f"a text to each window, so windows that share {lengths.stride} do not move on. Raise max_length, or pass "
            "a smaller stride."
        )
    return length - lengths.stride


def _rest(lengths: Lengths, size: int, excess: int, name: str) -> int:
    if excess >= size:
        raise InputError(
            f"max_length={lengths.max_length} asks to cut {excess} tokens from the {name} text, which has only "
            f"{size}. Raise max_length or choose another truncation strategy."
        )
    return size - excess


def _shares(first: int, second: int, excess: int) -> tuple[int, int]:
    """Splits what has to be cut: the longer text down to the shorter one, then both in turn, the second one first."""
    level = min(abs(first - second), excess)
    rest = excess - level
    if first > second:
        return level + rest // 2, rest - rest // 2
    return rest // 2, level + rest - rest // 2
