"""Random numbers and permutations that are functions of their place."""

from __future__ import annotations

import numpy as np
import pytest

from tfxlm.data import lots


def splitmix64(state: int) -> int:
    """The next number of the published generator, in plain Python."""
    bits = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & bits
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & bits
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & bits
    return state ^ (state >> 31)


def test_lots_are_those_of_plain_arithmetic() -> None:
    # The first number for the seed 0 is in the literature.
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    seed, bits, step = lots.key("a", 1), (1 << 64) - 1, 0x9E3779B97F4A7C15
    for place in (0, 1, 12345678901):
        once = splitmix64((place * step + seed - step) & bits)
        assert int(lots.lots(seed, np.array([place]))[0]) == splitmix64((once * step + seed - step) & bits)


def test_shares_are_uniform_and_differ_by_key() -> None:
    drawn = lots.shares(lots.key("x"), np.arange(100_000))
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000 * 0.95)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn, lots.shares(lots.key("y"), np.arange(100_000)))[0, 1]) < 0.02


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000, 1025])
def test_permutations(size: int) -> None:
    found = lots.permuted(lots.key("p"), np.arange(size), size)
    assert sorted(found) == list(range(size))
    # A part is a part of the whole.
    assert lots.permuted(lots.key("p"), np.arange(size)[::3], size).tolist() == found[::3].tolist()


def test_every_order_of_a_few_comes() -> None:
    found = {tuple(lots.permuted(lots.key(seed), np.arange(4), 4)) for seed in range(600)}
    assert len(found) == 24
    firsts = np.bincount([lots.permuted(lots.key(seed), np.array([0]), 10)[0] for seed in range(2000)], minlength=10)
    assert np.abs(firsts - 200).max() < 5 * np.sqrt(200 * 0.9)
