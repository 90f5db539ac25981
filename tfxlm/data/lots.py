"""Random numbers that are functions of their place, the same on every machine and with every version of numpy.

Nothing is drawn in turn: whoever knows the key and the place knows the number. So a run that goes on in the middle, and
workers that make a part each, see what one run from the start sees.
"""

from __future__ import annotations

import hashlib

import numpy as np

# SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
# Rounds of the Feistel network of a permutation: more than the four that theory asks for, as its halves may be small.
_ROUNDS = 8


def key(*parts: object) -> int:
    """Returns a number of 64 bits for values that say what lots are drawn for; their `repr` counts."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def lots(seed: int, places: np.ndarray) -> np.ndarray:
    """Returns a random number for each place.

    Args:
        seed: as `key` makes them.
        places: integers from 0, of any shape.

    Returns:
        uint64 of that shape, each number as probable as any other.
    """
    values = np.atleast_1d(places.astype(np.uint64))  # in arrays numbers wrap around without a warning
    offset = np.uint64(seed)
    for _ in range(2):  # once mixes the place, once more the key
        values = _mixed(values * _STEP + offset)
    return values.reshape(places.shape)


def shares(seed: int, places: np.ndarray) -> np.ndarray:
    """Returns the same as float64 from 0 up to 1, which never comes."""
    return (lots(seed, places) >> np.uint64(11)) * 2.0**-53


def permuted(seed: int, indices: np.ndarray, size: int) -> np.ndarray:
    """Says where a random permutation puts indices, without making all of it.

    Args:
        seed: of the permutation, as `key` makes them.
        indices: integers from 0, below `size`.
        size: how many there are in all.

    Returns:
        int64 of the shape of `indices`; other numbers for other indices.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = indices.astype(np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():  # the network permutes a power of four: who lands beyond the size walks on
        left, right = values[outside] >> half, values[outside] & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (lots(seed + turn & 0xFFFFFFFFFFFFFFFF, right) & mask)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    for factor, shift in zip(_FACTORS, _SHIFTS, strict=False):
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> _SHIFTS[-1])
