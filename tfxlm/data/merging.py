"""From shards to the files of a store: what is held out, and what is learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfxlm.data.shards import Shard, read_shard
from tfxlm.data.store import Part, file_name
from tfxlm.errors import InputError

_ALL_HASHES = 1 << 64


class HeldOut:
    """What is held out of corpora. The hash of a sentence, pair or document decides, so that equal ones stay together.

    Args:
        shards: the shards of each corpus, by name.
        amount: how many sentences, pairs or documents of each corpus, those that occur several times counted once; or
            a share of them, below 1.

    Raises:
        InputError: that leaves nothing to learn from.
    """

    def __init__(self, shards: Mapping[str, Sequence[Path]], amount: float) -> None:
        self._limits = {name: self._limit(name, paths, amount) for name, paths in shards.items()}
        held = [self._hashes(name, path) for name, paths in shards.items() for path in paths if amount]
        #: Hashes of all sentences that are held out of any corpus, in order.
        self.hashes = np.unique(np.concatenate([np.empty(0, np.uint64), *held]))

    def units(self, name: str, shard: Shard) -> np.ndarray:
        """Says which units are held out, (units,) bool."""
        limit = self._limits[name]
        return np.zeros(len(shard.sizes), bool) if limit is None else shard.unit_hashes <= np.uint64(limit)

    def sentences(self, shard: Shard) -> np.ndarray:
        """Says which sentences are held out of any corpus, (sentences,) bool."""
        if not len(self.hashes):
            return np.zeros(len(shard.hashes), bool)
        found = np.minimum(np.searchsorted(self.hashes, shard.hashes), len(self.hashes) - 1)
        return (self.hashes[found] == shard.hashes) & (shard.lengths > 0)

    def _hashes(self, name: str, path: Path) -> np.ndarray:
        shard = read_shard(path)
        return shard.hashes[np.repeat(self.units(name, shard), shard.sizes) & (shard.lengths > 0)]

    @staticmethod
    def _limit(name: str, paths: Sequence[Path], amount: float) -> int | None:
        """Returns the largest hash of a unit that is held out; None for none."""
        if not amount:
            return None
        if amount < 1:
            return int(amount * _ALL_HASHES) - 1
        smallest = np.empty(0, np.uint64)
        for path in paths:
            smallest = np.unique(np.concatenate([smallest, read_shard(path).unit_hashes]))[: int(amount) + 1]
        if len(smallest) <= amount:
            raise InputError(
                f"held_out={int(amount)} leaves nothing of {name!r} to learn from, which has {len(smallest)} different "
                "sentences, pairs or documents. Hold out fewer, or a share such as 0.01."
            )
        return int(smallest[int(amount) - 1])


class PartWriter:
    """Writes sentences of a language or pair in a split.

    Args:
        folder: of the store.
        name: of the entry.
        split: "train" or "held_out".
        dtype: of the ids.
        vocab_size: number of ids.
        unknown: id of the unknown token.
    """

    def __init__(self, folder: Path, name: str, split: str, dtype: str, vocab_size: int, unknown: int) -> None:
        self._tokens = (folder / file_name(name, split, "tokens")).open("wb")
        self._starts = (folder / file_name(name, split, "starts")).open("wb")
        self._dtype, self._unknown = np.dtype(dtype).newbyteorder("<"), unknown
        self._end = self._count = 0
        self._starts.write(np.zeros(1, "<i8").tobytes())
        #: (vocab_size,) int64, how often each id came.
        self.frequencies = np.zeros(vocab_size, np.int64)

    def write(self, shard: Shard, chosen: np.ndarray) -> None:
        """Appends the sentences of a shard that `chosen`, (sentences,) bool, says."""
        lengths = shard.lengths[chosen]
        tokens = shard.tokens[np.repeat(chosen, shard.lengths)]
        self._tokens.write(tokens.astype(self._dtype).tobytes())
        self._starts.write((self._end + np.cumsum(lengths)).astype("<i8").tobytes())
        self._end, self._count = self._end + len(tokens), self._count + len(lengths)
        self.frequencies += np.bincount(tokens, minlength=len(self.frequencies))

    def close(self) -> Part:
        """Ends the files, and returns how much is in them."""
        self._tokens.close()
        self._starts.close()
        return Part(self._count, self._end, int(self.frequencies[self._unknown]))


def merge(
    folder: Path,
    name: str,
    paths: Sequence[Path],
    size: int,
    held_out: HeldOut,
    dtype: str,
    vocab_size: int,
    unknown: int,
    counts: dict[str, int],
) -> Iterator[tuple[Part, np.ndarray]]:
    """Writes the files of an entry.

    Args:
        folder: of the store.
        name: of the entry.
        paths: its shards.
        size: languages of the entry.
        held_out: what is not learned from.
        dtype, vocab_size, unknown: as for `PartWriter`.

        counts: is given the number of sentences that are left out, since they are held out of another corpus or since
            they have no token.

    Yields:
        For "train" and for "held_out": how much there is, and how often each id comes.
    """
    writers = [PartWriter(folder, name, split, dtype, vocab_size, unknown) for split in ("train", "held_out")]
    counts |= {"held_out_elsewhere": 0, "no_token": 0}
    for path in paths:
        shard = read_shard(path)
        held = np.repeat(held_out.units(name, shard), shard.sizes)
        elsewhere = held_out.sentences(shard)
        if size == 2:
            elsewhere = np.repeat(elsewhere.reshape(-1, 2).any(1), 2)
        counts["held_out_elsewhere"] += int((elsewhere & ~held).sum())
        counts["no_token"] += shard.dropped
        writers[0].write(shard, ~held & ~elsewhere)
        writers[1].write(shard, held)
    for writer in writers:
        yield writer.close(), writer.frequencies
