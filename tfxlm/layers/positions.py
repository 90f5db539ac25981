"""Positions: the sinusoidal table."""

from __future__ import annotations

import numpy as np


def sinusoidal_table(num_positions: int, dim: int) -> np.ndarray:
    """Returns the position table of "Attention Is All You Need" (section 3.5).

    Returns:
        float32 (num_positions, dim): sines in the even columns, cosines in the odd ones.
    """
    # float64, as the reference computes it; the rounding is the same then.
    angles = np.arange(num_positions)[:, None] / np.power(10000.0, 2 * (np.arange(dim) // 2) / dim)
    table = np.where(np.arange(dim) % 2 == 0, np.sin(angles), np.cos(angles))
    return table.astype(np.float32)
