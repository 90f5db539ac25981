"""Generation as it is defined, slowly: one text at a time, all of it read again for each token, in numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

# From a text, a list of ids, to the scores of its next token.
Score = Callable[[list[int]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The options, as `generate` has them; `minimum` and `limit` count new tokens."""

    limit: int
    minimum: int = 0
    ends: tuple[int, ...] = ()
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: Any = False


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    shifted = scores - scores.max()
    return shifted - np.log(np.exp(shifted).sum())


def allowed(scores: np.ndarray, text: list[int], new: int, wanted: Wanted) -> np.ndarray:
    """What the rules leave of the scores of the next token of a text, of which `new` are new."""
    scores = scores.astype(np.float64).copy()
    for token in set(text) if wanted.repetition_penalty != 1 else ():
        penalty = wanted.repetition_penalty
        scores[token] = scores[token] * penalty if scores[token] < 0 else scores[token] / penalty
    size = wanted.no_repeat_ngram_size
    if size:
        last = text[len(text) - size + 1 :] if size > 1 else []
        for start in range(len(text) - size + 1):
            if text[start : start + size - 1] == last and len(last) == size - 1:
                scores[text[start + size - 1]] = -np.inf
    if new < wanted.minimum:
        scores[list(wanted.ends)] = -np.inf
    return scores


def drawn_from(scores: np.ndarray, wanted: Wanted) -> np.ndarray:
    """The probabilities that a draw is from."""
    scores = scores / wanted.temperature
    order = np.argsort(-scores, kind="stable")
    kept = order[: wanted.top_k] if wanted.top_k else order
    shares = np.exp(log_softmax(scores[kept]))
    # The fewest that have the share: one more where those before have less.
    count = next(n for n in range(1, len(kept) + 1) if n == len(kept) or shares[:n].sum() >= wanted.top_p)
    probabilities = np.zeros(len(scores))
    probabilities[kept[:count]] = shares[:count] / shares[:count].sum()
    return probabilities


def chosen(score: Score, prompt: list[int], wanted: Wanted, draws: np.ndarray | None = None) -> list[int]:
    """The new tokens of one text: the likeliest, or those that the draws, one for each token, hit."""
    text, new = list(prompt), 0
    while new < wanted.limit:
        scores = allowed(score(text), text, new, wanted)
        if draws is None:
            token = int(scores.argmax())
        else:
            token = int(np.searchsorted(np.cumsum(drawn_from(scores, wanted)), draws[new], side="right"))
        text, new = [*text, token], new + 1
        if token in wanted.ends:
            break
    return text[len(prompt) :]


def searched(score: Score, prompt: list[int], wanted: Wanted) -> list[tuple[float, list[int]]]:
    """The whole texts that a beam search finds, best first, each with its score and its new tokens."""
    beams = wanted.num_beams
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    whole: list[tuple[float, list[int]]] = []
    for length in range(1, wanted.limit + 1):
        candidates = []
        for total, new in running:
            text = [*prompt, *new]
            scores = allowed(log_softmax(score(text)), text, len(new), wanted)
            candidates += [(total + value, [*new, token]) for token, value in enumerate(scores)]
        candidates = sorted(candidates, key=lambda one: -one[0])[: max(2, 1 + len(wanted.ends)) * beams]
        does_end = [new[-1] in wanted.ends or length == wanted.limit for _, new in candidates]
        found = [one for one, ends in zip(candidates[:beams], does_end[:beams], strict=True) if ends]
        whole += [(total / length**wanted.length_penalty, new) for total, new in found]
        whole = sorted(whole, key=lambda one: -one[0])[:beams]
        running = [one for one, ends in zip(candidates, does_end, strict=True) if not ends][:beams]
        if not running or (len(whole) == beams and is_over(running[0][0], whole[-1][0], length, wanted)):
            break
    return whole


def is_over(running: float, worst: float, length: int, wanted: Wanted) -> bool:
    """Whether a search ends that has as many whole texts as beams."""
    if wanted.early_stopping is True:
        return True
    may_be = wanted.limit if wanted.early_stopping == "never" and wanted.length_penalty > 0 else length
    return running / may_be**wanted.length_penalty <= worst
