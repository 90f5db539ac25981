"""Makes the small XLM of `examples/checkpoint`: vocabulary, store, pre-training, and a folder of float16 weights.

    TFXLM_DATA=... python examples/make_checkpoint.py

The settings are those of `examples/pretraining/checkpoint.yaml`. Called again, the program goes on where it was, also
after it was killed. The result is `checkpoint-work/checkpoint`; to take it for that of the quickstart, put its files in
place of those in `examples/checkpoint`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from pretraining.corpora import NTREX, data_folder, write_corpora
from tfxlm import AutoTokenizer, TFXLMWithLMHeadModel, convert_checkpoint
from tfxlm.data.prepare import prepare_store
from tfxlm.data.vocabularies import learn_vocabulary
from tfxlm.training import PretrainingConfig, pretrain

SETTINGS = Path(__file__).parent / "pretraining/checkpoint.yaml"
HELD_OUT = 200
# Of fine-tuning; pre-training was without.
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("checkpoint-work"), help="folder of all that is made")
    parser.add_argument("--vocab-size", type=int, default=9000, help="ids of the joint vocabulary (default: 9000)")
    parser.add_argument("--most", type=int, help="most pairs of each file, to try it out (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes that tokenize (default: 2)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the settings")
    return parser.parse_args()


def main() -> None:
    """Runs all parts."""
    options = parse_arguments()
    work = options.work
    tokenizer, store, made = work / "tokenizer", work / "store", work / "checkpoint"
    places = write_corpora(data_folder(), work / "text", ntrex=True, most=options.most)
    if not tokenizer.exists():
        texts = {lang: places[lang] for lang in sorted(NTREX)}
        size, workers = options.vocab_size, options.workers
        learn_vocabulary(texts, tokenizer, case="unicode", accents="strip", size=size, workers=workers)
    if not store.exists():
        prepare_store(places, tokenizer, store, held_out=HELD_OUT, workers=options.workers)
    changes = [f"store={store}", f"output={work / 'run'}", *options.set]
    config = PretrainingConfig.from_file(SETTINGS, changes)
    result = pretrain(config, resume=True, console=Console())
    if not made.exists():
        model = TFXLMWithLMHeadModel.from_pretrained(result.folder, **DROPOUT)
        model.save_pretrained(work / "whole")
        AutoTokenizer.from_pretrained(result.folder).save_pretrained(work / "whole")
        convert_checkpoint(str(work / "whole"), str(made), dtype="float16")


if __name__ == "__main__":
    main()
