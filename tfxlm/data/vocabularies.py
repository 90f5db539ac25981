"""Learns a vocabulary that languages share, and writes the files of its tokenizer. See `tfxlm learn-vocab`."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfxlm import files
from tfxlm.data.corpora import parse_corpora
from tfxlm.data.processes import in_order
from tfxlm.data.sampling import Text, sample
from tfxlm.errors import InputError
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.bpe import END_OF_WORD, Merge
from tfxlm.tokenizers.xlm import FIRST_TOKENS, XLMTokenizer
from tfxlm.tokenizers.xlm_roberta import XLMRobertaTokenizer

FAMILIES = ("xlm", "xlm-roberta")
_CHUNK = 2000  # sentences that a process cuts at a time
_REPEATED = 1000  # most often that a word stands in one text for the trainer
# Ids of fairseq beside the pieces of SentencePiece, which has three of its own: one more in front, and the mask.
_FAIRSEQ_ONLY = 2
_LEAST_SIZE = 32


def learn_vocabulary(
    corpora: Mapping[str, str | Sequence[str]] | Iterable[str],
    out: str | os.PathLike[str],
    *,
    size: int,
    family: str = "xlm",
    alpha: float = 0.5,
    sentences: int | None = None,
    coverage: float = 1.0,
    preprocessing: str = "fair",
    case: str | None = None,
    accents: str | None = None,
    model_max_length: int = 512,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Tokenizer:
    """Learns a vocabulary, and writes the files that `XLMTokenizer` or `XLMRobertaTokenizer` load.

    The same texts and options give the same files.

    Args:
        corpora: where the texts are, by language or pair, see `corpora.parse_corpora`.
        out: the folder to make.
        size: number of ids, special tokens included.
        family: "xlm" for byte-pair encoding of words, "xlm-roberta" for a unigram model of SentencePiece.
        alpha: a language's share is its share of the sentences to this power: small languages get more than theirs.
        sentences: how many are learned from; as many as there are if None.
        coverage: share of the characters that get pieces; the rarest others are unknown.
        preprocessing, case, accents: as for `XLMTokenizer`.
        model_max_length: longest input, which is written into the settings.
        workers: processes that cut words.
        progress: called with the bytes read and those of all files, each of which is read twice.

    Returns:
        The tokenizer.

    Raises:
        InputError: an option is wrong, a corpus is not there, or the texts are too few or have too many characters for
            a vocabulary of this size.
        OutputExistsError: `out` exists.
    """
    if family not in FAMILIES:
        raise InputError(f"family must be one of {', '.join(map(repr, FAMILIES))}, got {family!r}.")
    for name, value, least in (("size", size, _LEAST_SIZE), ("workers", workers, 1), ("sentences", sentences or 1, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number, {least} or more, got {value!r}.")
    if not 0 <= alpha <= 1 or not 0 < coverage <= 1:
        raise InputError(f"alpha must be from 0 to 1, and coverage above 0 up to 1, got {alpha} and {coverage}.")
    letters = _letters(family, preprocessing, case, accents)
    found = parse_corpora(corpora)
    total, read = 2 * sum(corpus.bytes for corpus in found), 0

    def advance(count: int) -> None:
        nonlocal read
        read += count
        if progress:
            progress(read, total)

    texts = sample(found, alpha, sentences, advance)
    tokenizer: Tokenizer
    with files.atomic_folder(out) as folder:
        if family == "xlm":
            languages = sorted({language for corpus in found for language in corpus.languages})
            options: dict[str, Any] = {
                "lang2id": {language: index for index, language in enumerate(languages)},
                "preprocessing": preprocessing,
                "model_max_length": model_max_length,
            } | letters
            cutter = XLMTokenizer({token: index for index, token in enumerate(FIRST_TOKENS)}, [], **options)
            pieces, merges = learn_bpe(_count_words(texts, cutter, workers), size, coverage)
            tokenizer = XLMTokenizer(pieces, merges, **options)
        else:
            tokenizer = XLMRobertaTokenizer(_learn_pieces(texts, size, coverage), model_max_length=model_max_length)
        tokenizer.save_pretrained(folder)
    return tokenizer


def _letters(family: str, preprocessing: str, case: str | None, accents: str | None) -> dict[str, Any]:
    """Returns the options of `XLMTokenizer` about letters, which are kept unless something else is asked for."""
    if family != "xlm" and (case or accents):
        raise InputError(
            "case and accents are options of XLM: SentencePiece takes letters as they are. Leave them out."
        )
    case, accents = case or "none", accents or "keep"
    lower = (case, accents) == ("unicode", "strip")
    if preprocessing == "fair":
        return {"case": case, "accents": accents, "do_lowercase_and_remove_accent": lower}
    if not lower and (case, accents) != ("none", "keep"):
        raise InputError(
            f"With preprocessing='hf' letters stay as they are, or case='unicode' goes with accents='strip'; got "
            f"{case!r} and {accents!r}. Give preprocessing='fair'."
        )
    return {"do_lowercase_and_remove_accent": lower}


def learn_bpe(words: Mapping[str, int], size: int, coverage: float = 1.0) -> tuple[dict[str, int], list[Merge]]:
    """Learns byte-pair encoding.

    Args:
        words: how often each word occurs.
        size: number of ids, special tokens included.
        coverage: share of the characters that get pieces.

    Returns:
        Id by piece, and the merges.

    Raises:
        InputError: the characters alone are too many, or the words are too few.
    """
    from tokenizers import Tokenizer as Engine
    from tokenizers import models, pre_tokenizers, trainers

    characters = _covered(words, coverage)
    # Every character has two forms, within a word and at its end: a word that ends in one never seen there is known.
    alphabet = [form for character in characters for form in (character, character + END_OF_WORD)]
    if len(alphabet) > size - len(FIRST_TOKENS):
        raise InputError(
            f"A vocabulary of {size} has no room for {len(characters)} characters, each within a word and at its end, "
            f"and {len(FIRST_TOKENS)} special tokens. Give a larger size, or a coverage below {coverage}, as 0.9995."
        )
    allowed = set(characters)
    engine = Engine(models.BPE(end_of_word_suffix=END_OF_WORD))
    engine.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    # Given as special tokens, the alphabet has an order of its own, and ties between merges are always broken alike.
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(FIRST_TOKENS),
        special_tokens=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    engine.train_from_iterator(_repeated(words, allowed), trainer)
    merges = [tuple(merge) for merge in json.loads(engine.to_str())["model"]["merges"]]
    pieces = list(dict.fromkeys([*FIRST_TOKENS, *alphabet, *(first + second for first, second in merges)]))
    if len(pieces) < size:
        raise InputError(
            f"The texts give a vocabulary of {len(pieces)} at most, not of {size}. Give a smaller size, or more text."
        )
    return {piece: index for index, piece in enumerate(pieces)}, merges


def _covered(words: Mapping[str, int], coverage: float) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    wanted, kept = coverage * sum(counts.values()), []
    for character, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if wanted <= 0:
            break
        kept.append(character)
        wanted -= count
    return sorted(kept)


def _repeated(words: Mapping[str, int], allowed: set[str]) -> Iterator[str]:
    for word, count in sorted(words.items()):
        if allowed.issuperset(word):
            for done in range(0, count, _REPEATED):
                yield " ".join([word] * min(_REPEATED, count - done))


def _count_words(texts: Iterator[Text], cutter: XLMTokenizer, workers: int) -> Counter[str]:
    words: Counter[str] = Counter()
    for counts in in_order(_cut_words, cutter, iter(lambda: list(itertools.islice(texts, _CHUNK)), []), workers):
        words.update(counts)
    return words


def _cut_words(cutter: XLMTokenizer, texts: Sequence[Text]) -> Counter[str]:
    words: Counter[str] = Counter()
    for one in texts:
        for word in cutter.words(one.text, one.language):
            words[word] += one.times
    return words


def _learn_pieces(texts: Iterator[Text], size: int, coverage: float) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text.text for text in texts for _ in range(text.times)),
            model_writer=model,
            model_type="unigram",
            vocab_size=size - _FAIRSEQ_ONLY,
            character_coverage=coverage,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            max_sentence_length=1 << 20,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece cannot learn a vocabulary of {size} from these texts ({error}). Change the size, give more "
            "text, or a coverage below 1, such as 0.9995."
        ) from error
    return model.getvalue()
