"""Sentences of several languages in other proportions than they come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfxlm.data.corpora import Corpus, read_units
from tfxlm.data.readers import Counts, Progress
from tfxlm.errors import InputError


@dataclass(frozen=True)
class Text:
    """A sentence to learn from.

    Args:
        language: its code.
        text: the sentence.
        times: how often it counts.
    """

    language: str
    text: str
    times: int


def read_texts(corpora: Sequence[Corpus], progress: Progress | None = None) -> Iterator[tuple[str, str]]:
    """Yields language and text of all sentences, those of pairs too."""
    for corpus in corpora:
        for unit in read_units(corpus, Counts(), progress=progress):
            for language, sentence in zip(corpus.languages, unit, strict=True):
                if not isinstance(sentence, str):
                    raise InputError(f"The corpus {corpus.name!r} is a store, which has no texts. Name files of text.")
                yield language, sentence


def quotas(counts: Mapping[str, int], alpha: float, sentences: int | None) -> dict[str, int]:
    """Returns how many sentences of each language are taken.

    Args:
        counts: how many there are.
        alpha: a language's share is its share of the sentences to this power, of the sum of all such.
        sentences: how many are taken in all; as many as there are if None.
    """
    total = sum(counts.values())
    powers = {language: (count / total) ** alpha for language, count in counts.items()}
    wanted = total if sentences is None else sentences
    return {language: max(1, round(wanted * power / sum(powers.values()))) for language, power in powers.items()}


def sample(
    corpora: Sequence[Corpus], alpha: float, sentences: int | None, progress: Progress | None = None
) -> Iterator[Text]:
    """Takes sentences so that languages have the shares of `quotas`: some are left out, or count several times.

    They are taken at even distances, the same ones each time, and files are read twice.

    Args:
        corpora: where the sentences are.
        alpha, sentences: as for `quotas`.
        progress: is told the number of bytes read.

    Raises:
        InputError: there are none.
    """
    counts = Counter(language for language, _ in read_texts(corpora, progress))
    if not counts:
        raise InputError("The corpora have no sentences. A line is a sentence; a pair has a tab between two.")
    wanted = quotas(counts, alpha, sentences)
    seen: Counter[str] = Counter()
    for language, text in read_texts(corpora, progress):
        place, count, quota = seen[language], counts[language], wanted[language]
        seen[language] += 1
        times = (place + 1) * quota // count - place * quota // count
        if times:
            yield Text(language, text, times)
