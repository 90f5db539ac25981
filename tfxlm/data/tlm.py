"""Translation language modeling (TLM): rows of sentences and their translations."""

from __future__ import annotations

import numpy as np

from tfxlm.data.packing import Rows
from tfxlm.data.special_ids import SpecialIds
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT


class PairRows:
    """Rows of a pair of languages: `</s> A </s></s> B </s>`, for XLM-RoBERTa `<s> A </s></s> B </s>`.

    Where positions restart, A and B stand at the same ones. Several pairs in a row stand behind each other in these,
    too: a language and a position are never the same twice, so that attention can tell the words apart.

    Args:
        tokens: (tokens,) ids of all sentences, first and second ones in turn.
        starts: (2 * pairs + 1,) where they begin.
        ids: the layout.
        length: tokens of a row. A pair that is too long loses the ends of its sentences, first that of the longer one.
        langs: ids of the two languages.
        packed: whether a row holds as many pairs as go into it; otherwise one.

    Source: Lample and Conneau, "Cross-lingual Language Model Pretraining" (2019), section 3.4.
    """

    def __init__(
        self, tokens: np.ndarray, starts: np.ndarray, ids: SpecialIds, length: int, langs: tuple[int, int], packed: bool
    ) -> None:
        self._tokens, self._starts, self._ids, self._langs = tokens, starts, ids, langs
        self._room = length - sum(not isinstance(part, str) for part, _ in ids.pair)
        pairs = (len(starts) - 1) // 2
        self._bounds = filled(np.diff(starts[::2]) + (length - self._room), length) if packed else np.arange(pairs + 1)
        self.count = len(self._bounds) - 1

    def fill(self, rows: Rows, row: int, index: int, epoch: int) -> None:
        """Fills a row; arguments as in `TextRows.fill`."""
        at, offset = 0, 0
        for pair in range(self._bounds[index], self._bounds[index + 1]):
            ids, segments = self._frame(*self._sentences(pair))
            end = at + len(ids)
            rows.tokens[row, at:end] = ids
            rows.langs[row, at:end] = np.take(self._langs, segments)
            second = int(segments.sum())
            first = len(ids) - second
            positions = np.concatenate([np.arange(first), np.arange(second) + (0 if self._ids.restarts else first)])
            rows.position_ids[row, at:end] = offset + positions
            at, offset = end, offset + (max(first, second) if self._ids.restarts else len(ids))
        rows.attention_mask[row, :at] = 1
        rows.langs[row, at:] = rows.langs[row, at - 1]

    def _sentences(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        begin, middle, end = (int(start) for start in self._starts[2 * pair : 2 * pair + 3])
        first = min(middle - begin, max(self._room // 2, self._room - (end - middle)))
        second = min(end - middle, self._room - first)
        return self._tokens[begin : begin + first], self._tokens[middle : middle + second]

    def _frame(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        texts = {FIRST_TEXT: first, SECOND_TEXT: second}
        parts = [
            (np.array([part]) if isinstance(part, int) else texts[part], segment) for part, segment in self._ids.pair
        ]
        ids = np.concatenate([part for part, _ in parts])
        segments = np.concatenate([np.full(len(part), segment) for part, segment in parts])
        return ids, segments


def filled(sizes: np.ndarray, room: int) -> np.ndarray:
    """Says which neighbours share a row.

    Args:
        sizes: (n,) of each.
        room: of a row; what is larger is alone.

    Returns:
        (rows + 1,) int64, the first of each row, and n.
    """
    ends = np.concatenate([[0], np.cumsum(np.minimum(sizes, room))])
    bounds = [0]
    while bounds[-1] < len(sizes):
        bounds.append(int(np.searchsorted(ends, ends[bounds[-1]] + room, "right")) - 1)
    return np.array(bounds, np.int64)
