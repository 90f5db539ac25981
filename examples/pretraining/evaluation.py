"""What the checkpoint is worth: perplexity on held-back text, and transfer of intents learned in English."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import XLMConfig, XLMForSequenceClassification, XLMTokenizer, XLMWithLMHeadModel

from .objectives import ExampleStream, by_length, collate
from .train import loss_of
from .vocabulary import LANG2ID, PAD_ID

EVALUATION_SEED = 1
EVALUATION_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class FineTuning:
    """Hyper-parameters of fine-tuning on the intents; the defaults are those of the model card."""

    learning_rate: float = 3e-4
    epochs: int = 15
    batch_size: int = 16
    warm_up: float = 0.1
    weight_decay: float = 0.01
    summary: str = "first"
    frozen_embeddings: bool = False


@torch.inference_mode()
def perplexity(model: XLMWithLMHeadModel, stream: ExampleStream) -> float:
    """Returns the perplexity at hidden words, for one fixed choice of hidden words per stream."""
    model.eval()
    rng = np.random.default_rng(EVALUATION_SEED)
    total, count = 0.0, 0
    for group in by_length(stream.segments, EVALUATION_BATCH_TOKENS):
        batch = collate(group, model.config.vocab_size, rng)
        total += loss_of(model, batch).item()
        count += len(batch.labels)
    return math.exp(total / count)


Example = tuple[list[int], str, str]
"""Token ids with special tokens, language code, label."""


def read_intents(path: Path, tokenizer: XLMTokenizer) -> list[Example]:
    """Reads one file of `examples/intents`; the language is the name of the file."""
    lang = path.stem
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    examples = []
    for row in rows:
        # `tokenizer(text)` would lower-case in the same way but then tokenize as English.
        ids = tokenizer.convert_tokens_to_ids(tokenizer._tokenize(row["text"].lower(), lang=lang))
        examples.append((tokenizer.build_inputs_with_special_tokens(ids), lang, row["label"]))
    return examples


def _inputs(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    shape = (len(examples), max(len(ids) for ids, _, _ in examples))
    input_ids, langs = np.full(shape, PAD_ID), np.zeros(shape, np.int64)
    for i, (ids, lang, _) in enumerate(examples):
        input_ids[i, : len(ids)] = ids
        langs[i] = LANG2ID[lang]
    arrays = {"input_ids": input_ids, "langs": langs, "attention_mask": input_ids != PAD_ID}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def fine_tune(
    checkpoint: Path | None, config: XLMConfig, examples: Sequence[Example], settings: FineTuning, seed: int
) -> XLMForSequenceClassification:
    """Trains a classifier on `examples`.

    Args:
        checkpoint: where the encoder's weights come from; None for random ones.
        config: the checkpoint's configuration.
        examples: what to learn; their labels, sorted, are the classes.
        settings: hyper-parameters.
        seed: of the new head, the order and the dropout.

    Returns:
        The trained model, its labels in `config.id2label`.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    labels = sorted({label for _, _, label in examples})
    config = copy.deepcopy(config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.summary_type = settings.summary
    if checkpoint is None:
        model = XLMForSequenceClassification(config)
    else:
        model = XLMForSequenceClassification.from_pretrained(checkpoint, config=config, dtype=torch.float32)
    model.train()
    if settings.frozen_embeddings:
        for embeddings in (model.transformer.embeddings, model.transformer.lang_embeddings):
            embeddings.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    steps = settings.epochs * math.ceil(len(examples) / settings.batch_size)
    warm_up = max(1, round(settings.warm_up * steps))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    for _ in range(settings.epochs):
        order = rng.permutation(len(examples))
        for start in range(0, len(order), settings.batch_size):
            batch = [examples[i] for i in order[start : start + settings.batch_size]]
            logits = model(**_inputs(batch)).logits
            loss = functional.cross_entropy(logits, torch.tensor([labels.index(label) for _, _, label in batch]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return model


@torch.inference_mode()
def accuracy(model: XLMForSequenceClassification, examples: Sequence[Example]) -> float:
    """Returns the share of examples whose label the model ranks first."""
    model.eval()
    predicted = model(**_inputs(examples)).logits.argmax(-1).tolist()
    return float(
        np.mean([model.config.id2label[i] == label for i, (_, _, label) in zip(predicted, examples, strict=True)])
    )
