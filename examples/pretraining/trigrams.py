"""A trigram model of tokens, which a causal language model has to beat."""

from __future__ import annotations

import math

import numpy as np

from tfxlm.data import Store

ORDER = 3


def trigram_perplexity(store: Store, lang: str, separator: int) -> float:
    """Returns the perplexity of held-out text by an interpolated trigram model (Witten and Bell, 1991), by nltk.

    Text is a stream, as for the causal model: each sentence is followed by a separator, which is predicted too.

    Args:
        store: what it is counted in, and measured on.
        lang: the language.
        separator: id.
    """
    from nltk.lm import Vocabulary, WittenBellInterpolated
    from nltk.util import everygrams

    train, test = (_stream(store, lang, split, separator) for split in ("train", "held_out"))
    ids = [str(index) for index in range(store.vocab_size)]
    model = WittenBellInterpolated(ORDER, vocabulary=Vocabulary(ids, unk_cutoff=1))
    # Counted once more, an id that is not in the text is possible, too.
    model.fit([everygrams(train, max_len=ORDER), ((index,) for index in ids)])
    history = [str(separator)] * (ORDER - 1) + test
    logs = [math.log(model.score(token, tuple(history[place : place + ORDER - 1]))) for place, token in enumerate(test)]
    return math.exp(-sum(logs) / len(logs))


def _stream(store: Store, lang: str, split: str, separator: int) -> list[str]:
    """Returns the ids as words, which is what nltk takes."""
    tokens, starts = store.tokens(lang, split), store.starts(lang, split)
    return np.insert(np.asarray(tokens, np.int64), np.asarray(starts[1:]), separator).astype(str).tolist()
