"""Masked language modeling (MLM): which tokens are hidden, and what stands in their place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.data.clm import IGNORED
from tfxlm.data.lots import key
from tfxlm.data.special_ids import SpecialIds
from tfxlm.errors import InputError

_LARGEST_SEED = (1 << 63) - 1


class Masking:
    """Hides tokens, in the graph, by lots that are functions of the seed, the step and the row.

    Of each row the share is hidden, rounded up or down by lot so that it is right on average. The first position,
    special tokens and padding never are.

    Args:
        ids: special ids.
        batch: rows of a whole batch, of which a worker may have a part.
        length: tokens of a row.
        share: of the tokens, how many are hidden.
        mask_keep_random: of these, how many become the mask, stay, and become another token that is not special.
        frequencies: (size,) how often each id comes; None for tokens that are all as likely to be hidden.
        smoothing: with `frequencies`, a token is as likely to be hidden as its frequency to the power of minus this.
        seed: of all lots.

    Raises:
        InputError: shares are none.

    Source: Devlin et al., "BERT" (2019); for `smoothing`, Lample and Conneau (2019), section 3.3.
    """

    def __init__(
        self,
        ids: SpecialIds,
        batch: int,
        length: int,
        *,
        share: float = 0.15,
        mask_keep_random: tuple[float, float, float] = (0.8, 0.1, 0.1),
        frequencies: np.ndarray | None = None,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 < share < 1:
            raise InputError(f"mask_share must be more than 0 and less than 1, a share of the tokens, got {share}.")
        if len(mask_keep_random) != 3 or min(mask_keep_random) < 0 or not math.isclose(sum(mask_keep_random), 1):
            raise InputError(
                f"word_mask_keep_rand must be three shares that are 1 together, such as (0.8, 0.1, 0.1), got "
                f"{mask_keep_random}."
            )
        self._ids, self._batch, self._length, self._share = ids, batch, length, share
        self._to_mask, self._to_keep = mask_keep_random[0], mask_keep_random[0] + mask_keep_random[1]
        #: Places for hidden tokens in each row.
        self.places = math.ceil(share * (length - 1))
        is_ordinary = np.ones(ids.size, bool)
        is_ordinary[list(ids.special)] = False
        self._ordinary = np.flatnonzero(is_ordinary).astype(np.int32)
        weights = np.ones(ids.size)
        if frequencies is not None:
            weights = np.maximum(frequencies, 1).astype(np.float64) ** -smoothing
        self._weights = np.where(is_ordinary, weights / weights.max(), 0).astype(np.float32)
        self._keys = {purpose: key("mlm", seed, purpose) & _LARGEST_SEED for purpose in ("race", "count", "kind", "id")}

    def __call__(self, tokens: Any, attention_mask: Any, step: Any, rows: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
        """Hides tokens.

        Args:
            tokens: (rows, length) int32.
            attention_mask: (rows, length) int32, 1 for tokens.
            step: int64, number of the batch.
            rows: the first of these rows in the whole batch, and the one behind the last.

        Returns:
            `input_ids`, (rows, length) int32; `masked_positions` in order and `labels`, (rows, places) int32; weights,
            (rows, places) float32. Places that are not used have the position 0, the label -100 and the weight 0.
        """
        weights = tf.gather(self._weights, tokens)
        allowed = (weights > 0) & (attention_mask == 1) & (tf.range(self._length) > 0)
        # Whoever comes first in a race of exponential times, each as fast as its weight, is drawn without replacement.
        times = -tf.math.log(1.0 - self._lots("race", step, rows, self._length)) / weights
        _, fastest = tf.math.top_k(tf.where(allowed, -times, -np.inf), self.places)
        wanted = self._share * tf.reduce_sum(tf.cast(allowed, tf.float32), 1, keepdims=True)
        count = tf.cast(wanted + self._lots("count", step, rows, 1), tf.int32)  # (rows, 1), rounded by lot
        positions = tf.sort(tf.where(tf.range(self.places) < count, fastest, self._length))
        used = positions < self._length
        positions = tf.where(used, positions, 0)
        labels = tf.gather(tokens, positions, batch_dims=1)
        kind = self._lots("kind", step, rows, self.places)
        other = tf.cast(self._lots("id", step, rows, self.places) * len(self._ordinary), tf.int32)
        other = tf.gather(self._ordinary, tf.minimum(other, len(self._ordinary) - 1))
        new = tf.where(kind < self._to_mask, self._ids.mask, tf.where(kind < self._to_keep, labels, other))
        # Places that are not used write what stands at the first position, which is never hidden.
        new = tf.where(used, new, labels)
        input_ids = tf.tensor_scatter_nd_update(tokens, _indices(positions), new)
        return input_ids, positions, tf.where(used, labels, IGNORED), tf.cast(used, tf.float32)

    def _lots(self, purpose: str, step: Any, rows: tuple[int, int], columns: int) -> Any:
        """Returns (rows, columns) float32 from 0 up to 1; a part of the batch has the lots of these rows."""
        seed = tf.stack([tf.constant(self._keys[purpose], tf.int64), step])
        lots = tf.random.stateless_uniform((self._batch, columns), seed, alg="philox")
        return lots[rows[0] : rows[1]]


def _indices(positions: Any) -> Any:
    rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, None], tf.shape(positions))
    return tf.stack([rows, positions], -1)
