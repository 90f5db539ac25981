"""Batches for pre-training. Each is a function of the store, the settings, the seed and its number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxlm.data import lots, mixtures
from tfxlm.data.clm import next_tokens
from tfxlm.data.mlm import Masking
from tfxlm.data.numbered import numbered
from tfxlm.data.packing import Rows, Stream, TextRows
from tfxlm.data.special_ids import SpecialIds
from tfxlm.data.store import Store
from tfxlm.data.tlm import PairRows
from tfxlm.errors import CorruptFileError, InputError
from tfxlm.tokenizers.base import Tokenizer

_STEPS_AT_ONCE = 1 << 12
_SHORTEST = 8
# Masks of held-out texts are the same whatever the seed of the training is, so that runs can be compared.
_HELD_OUT_SEED = 0


class PretrainingData:
    """Batches of a store for masked (MLM), causal (CLM) and translation (TLM) language modeling.

    Each batch is of one objective and one language or pair, chosen by lot. Its rows come from the language in random
    order, each once before any comes again. Nothing has to be saved but the number of the next step: `dataset` begins
    wherever it is asked to.

    Args:
        store: what to learn from.
        tokenizer: the tokenizer that made the store; or what is needed of it. The store's own if None.
        objectives: what to learn, such as ``"mlm:en,de*2 clm:fr tlm*0.5:en-de"``; `mixtures` has the grammar.
        batch_size: rows of a batch, those of all workers together.
        length: tokens of a row.
        alpha: a language is chosen by its share of the tokens to this power: 1 leaves shares as they are, less raises
            small languages.
        seed: of all that is drawn by lot.
        split: "train" or "held_out".
        packed_pairs: whether a row has as many pairs as go into it; otherwise one and padding.
        whole_sentences: whether rows have whole sentences and padding; otherwise they are cut where they are full. None
            for what the model family does: XLM cuts, XLM-RoBERTa does not.
        mask_share: share of the tokens that is hidden.
        word_mask_keep_rand: of the hidden tokens, the shares that become the mask, stay, and become another token.
        frequency_smoothing: how much less often frequent tokens are hidden; 0 for all alike. The original XLM has it
            as `sample_alpha`.

    Raises:
        InputError: the mixture or an option is wrong, or there is no text for a part of it.
        TokenizerError: another tokenizer made the store.

    Example:
        >>> from pathlib import Path
        >>> from tfxlm import PretrainingData, prepare_store
        >>> _ = Path("en.txt").write_text("Hello world!\\nHow are you?\\n")
        >>> store = prepare_store({"en": "en.txt"}, "examples/checkpoint", "store")
        >>> data = PretrainingData(store, None, "mlm:en", batch_size=2, length=16)
        >>> inputs, labels, weights = next(iter(data.dataset(first_step=100)))
        >>> inputs["input_ids"].shape, labels.shape
        (TensorShape([2, 16]), TensorShape([2, 3]))

    Source: Lample and Conneau, "Cross-lingual Language Model Pretraining" (2019).
    """

    def __init__(
        self,
        store: Store,
        tokenizer: Tokenizer | SpecialIds | None,
        objectives: str,
        *,
        batch_size: int,
        length: int = 256,
        alpha: float = 0.7,
        seed: int = 0,
        split: str = "train",
        packed_pairs: bool = True,
        whole_sentences: bool | None = None,
        mask_share: float = 0.15,
        word_mask_keep_rand: tuple[float, float, float] = (0.8, 0.1, 0.1),
        frequency_smoothing: float = 0.0,
    ) -> None:
        _check_number("batch_size", batch_size, 1, "the number of rows of a batch")
        _check_number("length", length, _SHORTEST, "the number of tokens of a row")
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha must be from 0 (all languages alike) to 1 (by size), got {alpha}.")
        if not 0 <= frequency_smoothing <= 1:
            raise InputError(f"frequency_smoothing must be from 0 to 1, got {frequency_smoothing}.")
        if isinstance(tokenizer, Tokenizer):
            store.check_tokenizer(tokenizer)
        self.store, self.batch_size, self.length, self.seed, self.split = store, batch_size, length, seed, split
        self.ids = tokenizer if isinstance(tokenizer, SpecialIds) else SpecialIds.of(tokenizer or store.tokenizer())
        self._packed = packed_pairs
        self._whole = self.ids.whole_sentences if whole_sentences is None else whole_sentences
        wanted = mixtures.parse(objectives, store.languages, store.pairs)
        sizes = [{name: store.part(name, split).tokens for name in one.names} for one in wanted]
        for size in sizes:
            for name in size:
                self._check_there(name, split)
        #: What there is to choose from, with shares that are 1 together.
        self.entries = mixtures.entries(wanted, sizes, alpha)
        self._limits = np.cumsum([entry.share for entry in self.entries])
        self._key = lots.key("plan", seed)
        self._lock = threading.Lock()
        self._counted = [np.zeros(len(self.entries), np.int64)]
        kinds = {entry.objective == "clm" for entry in self.entries}
        #: Whether batches say by `causal` which attention they need.
        self.mixed = len(kinds) == 2
        self._masking: dict[str, Any] = {
            "share": mask_share,
            "mask_keep_random": word_mask_keep_rand,
            "frequencies": store.frequencies() if frequency_smoothing else None,
            "smoothing": frequency_smoothing,
        }
        self._masks = Masking(self.ids, batch_size, length, seed=seed, **self._masking)
        self._rows = [
            self._make_rows(entry.objective, entry.name, split, lots.key("rows", seed, entry.objective, entry.name))
            for entry in self.entries
        ]

    def plan(self, step: int) -> tuple[str, str]:
        """Returns the objective ("mlm", "clm" or "tlm") and the language or pair (such as "en-de") of a step."""
        entry = self.entries[int(self._choices(step, step + 1)[0])]
        return entry.objective, entry.name

    def batches_of(self, steps: int) -> list[int]:
        """Returns how many of the first steps are of each of `entries`."""
        return [self._count(choice, steps) for choice in range(len(self.entries))]

    @property
    def rows_of_an_epoch(self) -> list[int]:
        """How many rows each of `entries` has before any comes again."""
        return [rows.count for rows in self._rows]

    def dataset(
        self, first_step: int = 0, steps: int | None = None, shard: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Makes batches, from any step on.

        Args:
            first_step: number of the first batch, as in `plan`.
            steps: how many batches; None for no end.
            shard: index of the worker and number of workers: each gets its part of the rows of every batch.

        Returns:
            Batches `(inputs, labels, sample_weight)` of `batch_size` rows over the number of workers. `inputs` has
            `input_ids` and `attention_mask`, (batch, length) int32; `langs`, the same, where the tokenizer has
            languages; `position_ids`, the same, where positions restart in a pair (XLM); `masked_positions`, (batch, P)
            int32, what labels are for; and `causal`, (batch,) bool, where only a part of the mixture is causal.
            `labels` are (batch, P) int32, -100 where there is none, and `sample_weight` (batch, P) float32, 0 there. P
            is the same for all batches, but larger for CLM than for others.

        Raises:
            InputError: `shard` does not divide the batch, or a number is negative.
        """
        index, count = shard
        if count < 1 or not 0 <= index < count or self.batch_size % count:
            raise InputError(
                f"shard={shard} must be the index of a worker and the number of workers, which must divide the batch "
                f"of {self.batch_size} rows."
            )
        _check_number("first_step", first_step, 0, "the number of the first batch")
        _check_number("steps", 1 if steps is None else steps, 1, "the number of batches")
        size = self.batch_size // count
        part = (index * size, (index + 1) * size)

        def make(step: int) -> Rows:
            choice = int(self._choices(step, step + 1)[0])
            numbers = self._count(choice, step) * self.batch_size + np.arange(*part)
            entry = self.entries[choice]
            order = lots.key("order", self.seed, entry.objective, entry.name)
            return self._filled(self._rows[choice], numbers, order, entry.objective)

        return self._finished(make, first_step, steps, {entry.objective for entry in self.entries}, self._masks, part)

    def held_out(self, objective: str, language: str | tuple[str, str]) -> tf.data.Dataset:
        """Makes batches of all held-out text of a language or pair, in order: the same each time, whatever the seed is.

        Args:
            objective: "mlm", "clm" or "tlm".
            language: the language; a pair for "tlm".

        Returns:
            Batches as from `dataset`. The last one is filled up with rows of padding, whose weights are 0.

        Raises:
            InputError: there is no such objective, or no held-out text.
        """
        name = self.store.name_of(language)
        if mixtures.OBJECTIVES.get(objective) != len(self.store.languages_of(name)):
            raise InputError(
                f"{objective!r} cannot be measured on {name!r}: give 'mlm' or 'clm' with a language, or 'tlm' with a "
                "pair."
            )
        self._check_there(name, "held_out")
        rows = self._make_rows(objective, name, "held_out", None)
        count, size = -(-rows.count // self.batch_size), self.batch_size

        def make(step: int) -> Rows:
            numbers = np.arange(step * size, min((step + 1) * size, rows.count))
            return self._filled(rows, numbers, None, objective)

        masks = Masking(self.ids, size, self.length, seed=_HELD_OUT_SEED, **self._masking)
        return self._finished(make, 0, count, {objective}, masks, (0, size))

    def _check_there(self, name: str, split: str) -> None:
        if not self.store.part(name, split).tokens:
            raise InputError(
                f"The store '{self.store.path}' has no text of {name!r} in the split {split!r}. Leave it out, or "
                "prepare the store with more of it" + (" and --held-out." if split == "held_out" else ".")
            )

    def _make_rows(self, objective: str, name: str, split: str, seed: int | None) -> TextRows | PairRows:
        tokens, starts = self.store.tokens(name, split), self.store.starts(name, split)
        codes = self.store.languages_of(name)
        langs = [self._lang_id(code) for code in codes]
        if objective == "tlm":
            return PairRows(tokens, starts, self.ids, self.length, (langs[0], langs[1]), self._packed)
        stream = Stream(tokens, starts, self.ids.separator)
        return TextRows(stream, self.ids, self.length, langs[0], self._whole, seed)

    def _lang_id(self, code: str) -> int:
        if self.ids.languages and code not in self.ids.languages:
            raise InputError(
                f"The tokenizer has no language {code!r}, only {', '.join(self.ids.languages)}. Prepare the store "
                "with the codes of the tokenizer."
            )
        return self.ids.languages.get(code, 0)

    def _choices(self, first: int, last: int) -> np.ndarray:
        """Returns the index in `entries` of each step."""
        drawn = lots.shares(self._key, np.arange(first, last))
        return np.minimum(np.searchsorted(self._limits, drawn, "right"), len(self.entries) - 1)

    def _count(self, choice: int, step: int) -> int:
        """Returns how many steps before one are of an entry."""
        first = step // _STEPS_AT_ONCE * _STEPS_AT_ONCE
        return int(self._before(first)[choice]) + int((self._choices(first, step) == choice).sum())

    def _before(self, step: int) -> np.ndarray:
        """Returns how many steps before one, a multiple of `_STEPS_AT_ONCE`, are of each entry."""
        with self._lock:
            while (done := len(self._counted) - 1) * _STEPS_AT_ONCE < step:
                chosen = self._choices(done * _STEPS_AT_ONCE, (done + 1) * _STEPS_AT_ONCE)
                self._counted.append(self._counted[-1] + np.bincount(chosen, minlength=len(self.entries)))
            return self._counted[step // _STEPS_AT_ONCE]

    def _filled(self, source: TextRows | PairRows, numbers: np.ndarray, order: int | None, objective: str) -> Rows:
        """Makes rows.

        Args:
            source: makes them.
            numbers: of the rows, counted on from epoch to epoch.
            order: seed of the order in each epoch; None for theirs.
            objective: what the rows are for.
        """
        size = len(numbers) if order is not None else self.batch_size
        rows = Rows.empty(size, self.length, self.ids.pad)
        rows.causal = np.bool_(objective == "clm")
        epochs, indices = numbers // source.count, numbers % source.count
        for epoch in np.unique(epochs) if order is not None else ():
            now = epochs == epoch
            indices[now] = lots.permuted(lots.key(order, int(epoch)), indices[now], source.count)
        for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
            source.fill(rows, row, int(index), int(epoch))
        largest = int(rows.tokens.max())
        if largest >= self.ids.size:
            raise CorruptFileError(
                f"The store '{self.store.path}' has the id {largest}, but its tokenizer only {self.ids.size}: it is "
                "damaged. Make the store again."
            )
        return rows

    def _finished(
        self,
        make: Callable[[int], Rows],
        first: int,
        count: int | None,
        objectives: set[str],
        masks: Masking,
        part: tuple[int, int],
    ) -> tf.data.Dataset:
        """Makes a dataset of rows: what is hidden, and what is to be said of it, is decided in the graph."""
        size = part[1] - part[0]

        def finish(tokens: Any, mask: Any, langs: Any, position_ids: Any, causal: Any, step: Any) -> Any:
            def masked() -> Any:
                return masks(tokens[:, :-1], mask, step, part)

            def following() -> Any:
                return (tokens[:, :-1], *next_tokens(tokens, mask, self.ids.pad))

            if "clm" not in objectives:
                found = masked()
            elif objectives == {"clm"}:
                found = following()
            else:
                found = tf.cond(causal, following, masked)
            input_ids, positions, labels, weights = found
            inputs = {"input_ids": input_ids, "attention_mask": mask, "masked_positions": positions}
            if self.ids.languages:
                inputs["langs"] = langs
            if self.ids.restarts:
                inputs["position_ids"] = position_ids
            if self.mixed:
                inputs["causal"] = tf.fill((size,), causal)
            return inputs, labels, weights

        grid = tf.TensorSpec((size, self.length), tf.int32)
        tokens = tf.TensorSpec((size, self.length + 1), tf.int32)
        signature = (tokens, grid, grid, grid, tf.TensorSpec((), tf.bool))
        return numbered(lambda step: make(step).arrays, signature, finish, first, count)


def _check_number(name: str, value: Any, least: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be {what}, {least} or more, got {value!r}.")
