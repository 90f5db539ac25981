"""The joint byte-pair vocabulary: learning it from words, applying it, and the files `XLMTokenizer` reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .corpus import LANGUAGES

WORD_END = "</w>"
SPECIAL_TOKENS = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
BOS_ID, EOS_ID, PAD_ID, UNK_ID = range(4)
MASK_ID = SPECIAL_TOKENS.index("<special1>")
LANG2ID = {lang: i for i, lang in enumerate(LANGUAGES)}
# A language's share of the text the merges are learned from is its share of the words to this power, so that the two
# languages with little text get words of their own.
LANGUAGE_EXPONENT = 0.5

Merge = tuple[str, str]


def flatten(word_counts: Mapping[str, Counter[str]]) -> Counter[str]:
    """Adds the word counts of all languages, those of small languages scaled up.

    Args:
        word_counts: how often each word occurs, per language.

    Returns:
        One count per word.
    """
    totals = {lang: sum(counts.values()) for lang, counts in word_counts.items()}
    largest = max(totals.values())
    joint: Counter[str] = Counter()
    for lang, counts in word_counts.items():
        factor = round((largest / totals[lang]) ** (1 - LANGUAGE_EXPONENT))
        joint.update({word: count * factor for word, count in counts.items()})
    return joint


@dataclass
class Vocabulary:
    """Tokens, their ids, and the merges that make them.

    Args:
        tokens: every token in the order of its id.
        merges: pairs of symbols in the order in which they are joined.
        merge_counts: how often each merge was applied to the text it was learned from.
    """

    tokens: list[str]
    merges: list[Merge]
    merge_counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Indexes tokens and merges."""
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self._encoded: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, counts: Counter[str], size: int) -> Vocabulary:
        """Learns merges until the vocabulary holds `size` tokens.

        Args:
            counts: how often each word occurs.
            size: number of tokens, special tokens included.

        Returns:
            The vocabulary.
        """
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        # Every character gets both forms, within a word and at its end: otherwise a word that happens to end in a
        # character never seen there would become unknown.
        characters = sorted({character for word in counts for character in word})
        alphabet = [form for character in characters for form in (character, character + WORD_END)]
        tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
        # Words are given joined by U+0020, which none of them contains; some contain other kinds of space.
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        trainer = trainers.BpeTrainer(vocab_size=size - len(SPECIAL_TOKENS), end_of_word_suffix=WORD_END)

        def lines() -> Iterator[str]:
            for word, count in counts.items():
                yield " ".join([word] * count)

        tokenizer.train_from_iterator(lines(), trainer)
        learned = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
        learned = learned[: size - len(SPECIAL_TOKENS) - len(alphabet)]
        joined = list(dict.fromkeys(first + second for first, second in learned))
        vocabulary = cls([*SPECIAL_TOKENS, *alphabet, *joined], learned)
        applied: Counter[Merge] = Counter()
        for word, count in counts.items():
            for merge in vocabulary.split(word)[1]:
                applied[merge] += count
        vocabulary.merge_counts = [applied[merge] for merge in learned]
        return vocabulary

    @classmethod
    def read(cls, folder: Path) -> Vocabulary:
        """Reads `vocab.json` and `merges.txt`, as `write` leaves them."""
        ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        rows = [row.split(" ") for row in (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[:-1]]
        return cls(sorted(ids, key=ids.__getitem__), [(row[0], row[1]) for row in rows], [int(row[2]) for row in rows])

    def write(self, folder: Path, max_length: int) -> None:
        """Writes `vocab.json`, `merges.txt` and the configuration files of `transformers.XLMTokenizer`.

        Args:
            folder: the checkpoint folder.
            max_length: the longest input, recorded as `model_max_length`.
        """
        from transformers import XLMTokenizer

        rows = (f"{a} {b} {count}\n" for (a, b), count in zip(self.merges, self.merge_counts, strict=True))
        files = {
            "vocab.json": json.dumps(self.ids, ensure_ascii=False, indent=0) + "\n",
            "merges.txt": "".join(rows),
        }
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        tokenizer = XLMTokenizer(
            folder / "vocab.json",
            folder / "merges.txt",
            lang2id=LANG2ID,
            id2lang={str(i): lang for lang, i in LANG2ID.items()},
            do_lowercase_and_remove_accent=True,
            model_max_length=max_length,
        )
        tokenizer.save_pretrained(folder)
        # `save_pretrained` writes the two once more, sorted differently and without the merge counts.
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")

    def split(self, word: str) -> tuple[list[str], list[Merge]]:
        """Splits a word into tokens.

        Args:
            word: a word without spaces, at least one character.

        Returns:
            The tokens, and each merge as often as it was applied.
        """
        symbols = [*word[:-1], word[-1] + WORD_END]
        applied = []
        while len(symbols) > 1:
            merge = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if merge not in self._ranks:
                break
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == merge:
                    symbols[i : i + 2] = ["".join(merge)]
                    applied.append(merge)
                i += 1
        return symbols, applied

    def encode(self, words: list[str]) -> list[int]:
        """Returns the token ids of a sentence given as words, without special tokens."""
        found = []
        for word in words:
            if word not in self._encoded:
                self._encoded[word] = [self.ids.get(token, UNK_ID) for token in self.split(word)[0]]
            found.extend(self._encoded[word])
        return found
