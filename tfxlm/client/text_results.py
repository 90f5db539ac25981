"""What models say of texts, as small values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Outputs = Mapping[str, np.ndarray]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Labelled:
    """What a classifier says of a text.

    Attributes:
        label: name of the best label.
        score: its score.
        scores: of all labels, in the model's order.
    """

    label: str
    score: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class LabelledWord:
    """A word with its label.

    Attributes:
        word: the word.
        label: its label; empty where the model did not see the word, as the row was cut off before it.
        score: the label's score.
        start: where it begins in the text as it was sent; None of words that were sent as words.
        end: where it ends there.
    """

    word: str
    label: str
    score: float
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Span:
    """A part of a context that may answer a question.

    Attributes:
        text: the answer.
        start: where it begins in the context.
        end: where it ends in the context.
        score: how sure the model is.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer(Span):
    """The best answer to a question.

    Attributes:
        context: the context as it was sent, which `start` and `end` are positions in.
        spans: the best answers, the best first.
        no_answer: how sure the model is that there is none; None where it does not say.
    """

    context: str
    spans: tuple[Span, ...]
    no_answer: float | None


@dataclass(frozen=True)
class Choice:
    """The best of several choices.

    Attributes:
        index: which one.
        text: the choice.
        score: its score.
        scores: of all choices.
    """

    index: int
    text: str
    score: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class FilledMask:
    """A token that may stand in place of a mask.

    Attributes:
        token: its text.
        id: its id.
        score: its score.
    """

    token: str
    id: int
    score: float


@dataclass(frozen=True)
class Generated:
    """A text that a model has written.

    Attributes:
        text: what is new of it.
        ids: its tokens, the end of the text among them where it came.
        score: of beam search, the beam's score; None otherwise.
    """

    text: str
    ids: tuple[int, ...]
    score: float | None = None


def read_labelled(outputs: Outputs) -> list[Labelled]:
    """Reads the labels of texts."""
    rows = zip(outputs["label"], outputs["score"], outputs["scores"], strict=True)
    return [Labelled(str(label), float(score), tuple(scores.tolist())) for label, score, scores in rows]


def read_labelled_words(outputs: Outputs, words: list[list[str]]) -> list[tuple[LabelledWord, ...]]:
    """Reads the labels of words that were sent; what fills rows up is left out."""
    return [
        tuple(
            LabelledWord(word, str(label), float(score))
            for word, label, score in zip(row, outputs["label"][number], outputs["score"][number], strict=False)
        )
        for number, row in enumerate(words)
    ]


def read_found_words(outputs: Outputs) -> list[tuple[LabelledWord, ...]]:
    """Reads words that the model found in texts, with their labels and, where it says them, their places."""
    names = ("words", "label", "score", *(("starts", "ends") if "starts" in outputs else ()))
    found = []
    for row, count in enumerate(outputs["num_words"].tolist()):
        words = zip(*(outputs[name][row, :count].tolist() for name in names), strict=True)
        found.append(tuple(LabelledWord(*word) for word in words))
    return found


def read_answers(outputs: Outputs, contexts: list[str]) -> list[Answer]:
    """Reads the answers to questions; of the best ones those that are there."""
    answers = []
    for row, context in enumerate(contexts):
        best = Span(*(kind(outputs[name][row]) for name, kind in _SPAN.items()))
        places = np.flatnonzero(outputs["starts"][row] >= 0).tolist() if "starts" in outputs else []
        spans = tuple(
            Span(*(kind(outputs[f"{name}s"][row, place]) for name, kind in _SPAN.items())) for place in places
        )
        no_answer = float(outputs["no_answer"][row]) if "no_answer" in outputs else None
        answers.append(Answer(best.text, best.start, best.end, best.score, context, spans, no_answer))
    return answers


# Outputs by the attributes of `Span`, in their order; of the best ones the same names with an "s".
_SPAN = {"answer": str, "start": int, "end": int, "score": float}


def read_choices(outputs: Outputs, choices: list[list[str]]) -> list[Choice]:
    """Reads the best choices."""
    rows = zip(choices, outputs["choice"].tolist(), outputs["score"], outputs["scores"], strict=True)
    return [
        Choice(best, row[best], float(score), tuple(scores[: len(row)].tolist())) for row, best, score, scores in rows
    ]


def read_filled(outputs: Outputs, top_k: int | None) -> list[tuple[tuple[FilledMask, ...], ...]]:
    """Reads the best tokens for each mask of each text."""
    rows = zip(outputs["tokens"], outputs["ids"].tolist(), outputs["scores"].tolist(), strict=True)
    filled = []
    for tokens, ids, scores in rows:
        masks = (
            tuple(
                FilledMask(str(token), number, score) for token, number, score in list(zip(*mask, strict=True))[:top_k]
            )
            for mask in zip(tokens, ids, scores, strict=True)
            if mask[1][0] >= 0  # a row with fewer masks is filled up
        )
        filled.append(tuple(masks))
    return filled


def read_generated(outputs: Outputs) -> list[tuple[Generated, ...]]:
    """Reads the texts that go on from each text."""
    rows = []
    for row, lengths in enumerate(outputs["lengths"].tolist()):
        scores = outputs["scores"][row].tolist() if "scores" in outputs else [None] * len(lengths)
        texts, ids = outputs["texts"][row], outputs["ids"][row]
        rows.append(
            tuple(
                Generated(str(texts[place]), tuple(ids[place, :length].tolist()), scores[place])
                for place, length in enumerate(lengths)
            )
        )
    return rows


def one_of(found: list[Row], is_one: bool) -> Row | list[Row]:
    """Returns what a single text gave, or the list of many."""
    return found[0] if is_one else found


def stacked(found: list[np.ndarray], is_one: bool) -> np.ndarray:
    """Returns the array of a single text, or those of many with an axis more."""
    if is_one:
        return found[0]
    return np.stack(found) if found else np.zeros((0, 0), np.float32)
