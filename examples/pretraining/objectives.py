"""Masked (MLM) and translation (TLM) language modeling: examples, batches, and what is hidden in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .corpus import Sentence, Stream, sentences_by_language
from .vocabulary import BOS_ID, EOS_ID, LANG2ID, MASK_ID, PAD_ID, SPECIAL_TOKENS, Vocabulary

MAX_SENTENCE_TOKENS = 100
MASKED_SHARE = 0.15
# What becomes of a chosen token: the mask, itself, or a random token.
MASKED, KEPT = 0.8, 0.1
TLM_SHARE = 0.75
# A stream is drawn in proportion to its number of tokens to this power: raises the streams of small languages.
STREAM_EXPONENT = 0.7
BATCHES_PER_SHARD = 64

Segment = tuple[str, np.ndarray]
"""A language code and token ids without special tokens."""


@dataclass
class ExampleStream:
    """Examples of one kind: sentences (MLM) or translation pairs (TLM).

    Args:
        segments: one segment per example for MLM, two for TLM.
    """

    name: str
    segments: list[tuple[Segment, ...]]

    @property
    def is_tlm(self) -> bool:
        """Whether the examples are translation pairs."""
        return len(self.segments[0]) == 2

    @property
    def num_tokens(self) -> int:
        """Number of tokens in one pass, special tokens excluded."""
        return sum(len(ids) for example in self.segments for _, ids in example)


@dataclass
class Batch:
    """One padded batch; `B` examples of `L` tokens, of which `P` in all are to be predicted.

    Args:
        input_ids, attention_mask, langs, position_ids: `(B, L)`.
        masked_positions: `(P,)`, indices into the flattened `(B * L,)` positions.
        labels: `(P,)`, the ids that stood there.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    langs: torch.Tensor
    position_ids: torch.Tensor
    masked_positions: torch.Tensor
    labels: torch.Tensor


def lay_out(segments: Sequence[Segment]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins segments to `<s> A </s>` or `<s> A </s> B </s>`.

    Args:
        segments: one or two segments.

    Returns:
        Token ids, language ids and position ids, each of shape `(L,)`.
    """
    ids, langs, positions = [np.array([BOS_ID])], [], []
    for i, (lang, whole) in enumerate(segments):
        tokens = whole[:MAX_SENTENCE_TOKENS]
        ids += [tokens, np.array([EOS_ID])]
        length = len(tokens) + 1 + (i == 0)
        langs.append(np.full(length, LANG2ID[lang]))
        # Positions restart so that B's words stand where they would stand were B alone: at 1, after a `<s>` at 0.
        positions.append(np.arange(length) + (i > 0))
    return np.concatenate(ids), np.concatenate(langs), np.concatenate(positions)


def collate(examples: Sequence[Sequence[Segment]], vocab_size: int, rng: np.random.Generator) -> Batch:
    """Lays out, pads and masks a batch.

    Args:
        examples: one or two segments each.
        vocab_size: number of token ids.
        rng: decides which tokens are hidden.

    Returns:
        The batch; words only are hidden, never special tokens, and at least one word of each batch.
    """
    rows = [lay_out(segments) for segments in examples]
    shape = (len(rows), max(len(ids) for ids, _, _ in rows))
    input_ids, langs, positions = np.full(shape, PAD_ID), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for i, row in enumerate(rows):
        for target, values in zip((input_ids, langs, positions), row, strict=True):
            target[i, : len(values)] = values
    attention_mask = input_ids != PAD_ID
    words = input_ids >= len(SPECIAL_TOKENS)
    chosen = words & (rng.random(shape) < MASKED_SHARE)
    if not chosen.any():
        chosen.flat[rng.choice(np.flatnonzero(words))] = True
    labels = input_ids[chosen]
    lot = rng.random(labels.shape)
    replaced = np.where(lot < MASKED, MASK_ID, rng.integers(len(SPECIAL_TOKENS), vocab_size, labels.shape))
    input_ids[chosen] = np.where((lot >= MASKED) & (lot < MASKED + KEPT), labels, replaced)
    arrays = (input_ids, attention_mask, langs, positions, np.flatnonzero(chosen), labels)
    return Batch(*map(torch.from_numpy, arrays))


def by_length(
    examples: Sequence[tuple[Segment, ...]], tokens_per_batch: int
) -> Iterator[Sequence[tuple[Segment, ...]]]:
    """Cuts examples into groups of similar length, each at most `tokens_per_batch` tokens when padded."""
    lengths = [1 + sum(min(len(ids), MAX_SENTENCE_TOKENS) + 1 for _, ids in example) for example in examples]
    group: list[tuple[Segment, ...]] = []
    for i in np.argsort(lengths, kind="stable"):
        # Sorted by length, so the example at hand is the longest and decides the width.
        if group and (len(group) + 1) * lengths[i] > tokens_per_batch:
            yield group
            group = []
        group.append(examples[i])
    if group:
        yield group


def stream_weights(streams: Sequence[ExampleStream]) -> np.ndarray:
    """Returns the probability that an example is drawn from each stream, shape `(len(streams),)`."""
    tokens = np.array([stream.num_tokens for stream in streams], np.float64)
    is_tlm = np.array([stream.is_tlm for stream in streams])
    share = tokens**STREAM_EXPONENT
    for kind, total in ((is_tlm, TLM_SHARE), (~is_tlm, 1 - TLM_SHARE)):
        share[kind] *= total / share[kind].sum()
    # Up to here shares of tokens; an example of a stream of long sentences brings more of them.
    share /= tokens / [len(stream.segments) for stream in streams]
    return share / share.sum()


def endless_batches(
    streams: Sequence[ExampleStream], vocab_size: int, tokens_per_batch: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Draws examples from all streams, batches neighbours in length, and yields batches in random order, for ever."""
    weights = stream_weights(streams)
    mean_length = sum(w * s.num_tokens / len(s.segments) for w, s in zip(weights, streams, strict=True))
    per_shard = max(1, round(BATCHES_PER_SHARD * tokens_per_batch / mean_length))
    orders: list[Iterator[int]] = [iter(()) for _ in streams]

    def draw(i: int) -> tuple[Segment, ...]:
        # Without replacement: every example of a stream once before any comes again.
        index = next(orders[i], None)
        if index is None:
            orders[i] = iter(rng.permutation(len(streams[i].segments)))
            index = next(orders[i])
        segments = streams[i].segments[index]
        return segments[::-1] if rng.random() < 0.5 else segments

    while True:
        examples = [draw(i) for i in rng.choice(len(streams), per_shard, p=weights)]
        groups = list(by_length(examples, tokens_per_batch))
        for i in rng.permutation(len(groups)):
            yield collate(groups[i], vocab_size, rng)


def encode_streams(
    streams: Sequence[Stream], words: Mapping[Sentence, list[str]], vocabulary: Vocabulary, *, held_back: bool
) -> list[ExampleStream]:
    """Turns text into examples.

    Args:
        streams: the pairs.
        words: the words of every sentence in them.
        vocabulary: turns words into ids.
        held_back: take the held-back part instead of the training part.

    Returns:
        One TLM stream per stream that has pairs in that part, then one MLM stream per language.
    """
    known: dict[Sentence, Segment] = {}

    def segment(lang: str, text: str) -> Segment:
        if (lang, text) not in known:
            known[lang, text] = (lang, np.array(vocabulary.encode(words[lang, text]), np.int64))
        return known[lang, text]

    examples = []
    for stream in streams:
        pairs = stream.held_back if held_back else stream.train
        first, second = stream.langs
        if pairs:
            examples.append(ExampleStream(stream.name, [(segment(first, a), segment(second, b)) for a, b in pairs]))
    for lang, texts in sentences_by_language(streams, held_back=held_back).items():
        examples.append(ExampleStream(f"mlm {lang}", [(segment(lang, text),) for text in texts]))
    return examples
