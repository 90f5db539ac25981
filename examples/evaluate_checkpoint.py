"""Prints the figures of the model card: held-back perplexity, and intents learned in English and asked in the others.

    TFXLM_DATA=... python examples/evaluate_checkpoint.py

Without `TFXLM_DATA` the perplexity is left out. Needs torch, transformers, tokenizers, sacremoses and tqdm.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from transformers import XLMConfig, XLMTokenizer, XLMWithLMHeadModel

from pretraining.corpus import LANGUAGES, read_streams, split_into_words
from pretraining.evaluation import FineTuning, accuracy, fine_tune, perplexity, read_intents
from pretraining.objectives import encode_streams
from pretraining.vocabulary import Vocabulary

HERE = Path(__file__).parent
TAUGHT = "en"


def print_perplexities(checkpoint: Path, data: Path) -> None:
    """Prints the perplexity at hidden words of each held-back stream, trained and at random weights."""
    streams = read_streams(data)
    examples = encode_streams(streams, split_into_words(streams), Vocabulary.read(checkpoint), held_back=True)
    trained = XLMWithLMHeadModel.from_pretrained(checkpoint, dtype=torch.float32)
    untrained = XLMWithLMHeadModel(XLMConfig.from_pretrained(checkpoint))
    print(f"{'held-back text':20} {'examples':>8} {'perplexity':>11} {'untrained':>10}")
    for stream in examples:
        figures = f"{perplexity(trained, stream):11.1f} {perplexity(untrained, stream):10.1f}"
        print(f"{stream.name:20} {len(stream.segments):8} {figures}")


def print_transfer(checkpoint: Path, intents: Path, settings: FineTuning, seeds: int) -> None:
    """Prints the accuracy per language after fine-tuning in English, per seed and on average."""
    tokenizer = XLMTokenizer.from_pretrained(checkpoint)
    config = XLMConfig.from_pretrained(checkpoint)
    examples = {lang: read_intents(intents / f"{lang}.tsv", tokenizer) for lang in LANGUAGES}
    print(settings)
    print(f"{'weights':14}", *(f"{lang:>6}" for lang in LANGUAGES))
    for name, source in (("pre-trained", checkpoint), ("random", None)):
        rows = []
        for seed in range(seeds):
            model = fine_tune(source, config, examples[TAUGHT], settings, seed)
            rows.append([100 * accuracy(model, examples[lang]) for lang in LANGUAGES])
            print(f"{name:11} {seed:2}", *(f"{value:6.1f}" for value in rows[-1]), flush=True)
        print(f"{name:11}  =", *(f"{value:6.1f}" for value in np.mean(rows, axis=0)))


def main() -> None:
    """Reads the command line and prints both tables."""
    parser = argparse.ArgumentParser(
        description="Measure the small XLM checkpoint of examples/.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint", help="the checkpoint folder")
    parser.add_argument("--intents", type=Path, default=HERE / "intents", help="folder of the intent files")
    parser.add_argument("--seeds", type=int, default=3, help="fine-tuning runs to average")
    parser.add_argument("--learning-rate", type=float, default=FineTuning.learning_rate, help="of fine-tuning")
    parser.add_argument("--epochs", type=int, default=FineTuning.epochs, help="of fine-tuning")
    parser.add_argument("--batch-size", type=int, default=FineTuning.batch_size, help="of fine-tuning")
    parser.add_argument("--freeze-embeddings", action="store_true", help="leave them out of fine-tuning")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = os.environ.get("TFXLM_DATA")
    if data:
        print_perplexities(arguments.checkpoint, Path(data) / "parallel")
    else:
        print("TFXLM_DATA is not set: no perplexity")
    settings = FineTuning(
        arguments.learning_rate,
        arguments.epochs,
        arguments.batch_size,
        frozen_embeddings=arguments.freeze_embeddings,
    )
    print_transfer(arguments.checkpoint, arguments.intents, settings, arguments.seeds)


if __name__ == "__main__":
    main()
