"""Prints what checkpoints are worth: intents learned in English and asked in other languages, and translations found.

    python examples/evaluate_checkpoint.py [--store checkpoint-work/store] [CHECKPOINT]...

Translations are those that were held out of the store of a checkpoint; without it they are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pretraining.evaluation import retrieval_accuracy, zero_shot_accuracies
from tfxlm.data import open_store

HERE = Path(__file__).parent


def main() -> None:
    """Reads the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[HERE / "checkpoint"], metavar="CHECKPOINT")
    parser.add_argument("--store", type=Path, help="the store that they learned from")
    parser.add_argument("--seeds", type=int, default=3, help="fine-tuning runs to average (default: 3)")
    options = parser.parse_args()
    for checkpoint in options.checkpoints:
        for name, source in ((str(checkpoint), checkpoint), ("random weights", None)):
            found = zero_shot_accuracies(source, checkpoint, options.seeds)
            print(f"{name:40} intents  ", "  ".join(f"{lang} {value:.1%}" for lang, value in found.items()), flush=True)
        if options.store:
            store = open_store(options.store)
            for pair in ("-".join(languages) for languages in store.pairs):
                print(f"{checkpoint!s:40} {pair} found {retrieval_accuracy(checkpoint, store, pair):.1%}", flush=True)


if __name__ == "__main__":
    main()
