"""Makes `examples/checkpoint`: a small XLM for ar, de, en, fr and ru, pre-trained with MLM and TLM on two CPU cores.

    TFXLM_DATA=... python examples/make_checkpoint.py --minutes 48

Needs torch, transformers, tokenizers, sacremoses and tqdm. `$TFXLM_DATA/parallel` holds the text that
`pretraining/corpus.py` names. No two runs give the same bits: BPE training breaks ties at random, and the weights
depend on how many steps fit into the time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import torch

from pretraining.corpus import read_streams, sentences_by_language, split_into_words
from pretraining.objectives import ExampleStream, encode_streams
from pretraining.train import MAX_POSITIONS, Settings, new_model, train
from pretraining.vocabulary import Vocabulary, flatten

HERE = Path(__file__).parent


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Pre-train the small XLM checkpoint of examples/ from the text in $TFXLM_DATA/parallel.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=HERE / "checkpoint", help="the checkpoint folder")
    parser.add_argument("--work", type=Path, default=Path("checkpoint-work"), help="scratch folder, state for --resume")
    parser.add_argument("--minutes", type=float, default=48, help="wall time of the training itself")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the masks")
    parser.add_argument("--vocab-size", type=int, default=9000, help="number of tokens, special tokens included")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens per batch, padding included")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak of the schedule")
    parser.add_argument("--workers", type=int, default=2, help="training processes, one CPU core each")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --work")
    return parser.parse_args(arguments)


def data_folder() -> Path:
    """Returns the folder of the parallel text, or ends the program saying what is missing."""
    root = os.environ.get("TFXLM_DATA")
    if not root:
        sys.exit("TFXLM_DATA is not set: point it at the folder that holds parallel/ with the Tatoeba and NTREX files")
    return Path(root) / "parallel"


def prepare(folder: Path, out: Path, vocab_size: int, *, resume: bool) -> list[ExampleStream]:
    """Reads and tokenizes the training text; learns and writes the vocabulary, unless an earlier run did."""
    streams = read_streams(folder)
    words = split_into_words(streams)
    if resume:
        vocabulary = Vocabulary.read(out)
    else:
        training = sentences_by_language(streams)
        counts = {lang: Counter(w for text in texts for w in words[lang, text]) for lang, texts in training.items()}
        vocabulary = Vocabulary.learn(flatten(counts), vocab_size)
        vocabulary.write(out, MAX_POSITIONS)
    return encode_streams(streams, words, vocabulary, held_back=False)


def main() -> None:
    """Reads the text, learns the vocabulary, trains, writes the checkpoint."""
    arguments = parse_arguments()
    folder = data_folder()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    # More threads would not survive the fork in `train`; they are not needed before it.
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    examples = prepare(folder, arguments.out, arguments.vocab_size, resume=arguments.resume)
    settings = Settings(
        arguments.minutes, arguments.learning_rate, arguments.batch_tokens, arguments.seed, arguments.workers
    )
    model = new_model(arguments.vocab_size)
    train(model, examples, settings, out=arguments.out, work=arguments.work, resume=arguments.resume)


if __name__ == "__main__":
    main()
