"""What a checkpoint is worth: translations that are found, intents learned in English and asked in other languages."""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import quickstart
from tfxlm import AutoConfig, AutoTokenizer, TFAutoModel, TFAutoModelForSequenceClassification
from tfxlm.data import Store

FINE_TUNING = {"epochs": 15, "batch_size": 16, "learning_rate": 3e-4}
BATCH = 64


def held_out_pairs(store: Store, pair: str, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the ids of held-out sentences and their translations; each sentence once, so that there is one answer."""
    tokens, starts = store.tokens(pair, "held_out"), store.starts(pair, "held_out")
    sentences = [np.array(tokens[begin:end], np.int32) for begin, end in pairwise(starts)]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    seen: set[tuple[int, bytes]] = set()
    for both in zip(sentences[::2], sentences[1::2], strict=True):
        keys = {(side, ids.tobytes()) for side, ids in enumerate(both)}
        if not keys & seen:
            found.append(both)
            seen |= keys
    return found[:most]


def retrieval_accuracy(checkpoint: Path, store: Store, pair: str, most: int = 1000) -> float:
    """Measures how often the nearest sentence in the other language is the translation.

    A sentence is the mean of its tokens' hidden states before the last block, less the mean of its language; the cosine
    says what is near.

    Args:
        checkpoint: the model.
        store: has the held-out pairs.
        pair: such as "en-de".
        most: pairs to choose from.

    Returns:
        The mean of both directions, of 1.
    """
    model, tokenizer = TFAutoModel.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    store.check_tokenizer(tokenizer)
    pairs = held_out_pairs(store, pair, most)
    sides = [
        _vectors(model, tokenizer, [both[side] for both in pairs], lang)
        for side, lang in enumerate(store.languages_of(pair))
    ]
    nearest = sides[0] @ sides[1].T
    right = np.arange(len(pairs))
    return float(np.mean([(nearest.argmax(1) == right).mean(), (nearest.argmax(0) == right).mean()]))


def _vectors(model: Any, tokenizer: Any, sentences: list[np.ndarray], lang: str) -> np.ndarray:
    longest = model.config.max_sequence_length
    framed = [tokenizer.build_inputs_with_special_tokens(ids.tolist())[:longest] for ids in sentences]
    found = []
    for start in range(0, len(framed), BATCH):
        rows = framed[start : start + BATCH]
        ids = np.full((len(rows), max(map(len, rows))), tokenizer.pad_token_id)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        mask = np.arange(ids.shape[1]) < np.array([[len(tokens)] for tokens in rows])
        inputs = {"input_ids": ids, "attention_mask": mask, "langs": np.full(ids.shape, tokenizer.lang2id[lang])}
        states = np.asarray(model(inputs, output_hidden_states=True).hidden_states[-2])
        found.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))
    vectors = np.concatenate(found)
    vectors -= vectors.mean(0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def zero_shot_accuracies(checkpoint: Path | None, like: Path, seeds: int = 3) -> dict[str, float]:
    """Fine-tunes the classifier of the quickstart on English, and asks it in all languages that the model knows.

    Args:
        checkpoint: the model; None for random weights.
        like: the checkpoint whose configuration and tokenizer are taken.
        seeds: trainings to average over.

    Returns:
        Accuracy by language, of 1; that of English on the sentences that were not trained on.
    """
    intents = sorted(set(quickstart.read_intents("en")[1]))
    labels: dict[str, Any] = {"id2label": dict(enumerate(intents)), "dropout": 0.1, "attention_dropout": 0.1}
    tokenizer = AutoTokenizer.from_pretrained(like)
    train, test_sets = quickstart.read_data(tokenizer, intents)

    def make() -> Any:
        if checkpoint is None:
            return TFAutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(like, **labels))
        return TFAutoModelForSequenceClassification.from_pretrained(checkpoint, **labels)

    found = defaultdict(list)
    for seed in range(seeds):
        options = argparse.Namespace(**FINE_TUNING, seed=seed)
        model = quickstart.fine_tune(make, train, test_sets["en"], options, verbose=0)
        for lang, accuracy in quickstart.accuracies(model, test_sets).items():
            found[lang].append(accuracy)
    return {lang: float(np.mean(values)) for lang, values in found.items()}
