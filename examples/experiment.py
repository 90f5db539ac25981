"""The paper's finding at small scale: what translations teach that text alone does not; causal models and trigrams.

    TFXLM_DATA=... python examples/experiment.py

Learns a vocabulary, prepares the text, trains three models of one size (MLM, and MLM with TLM, for the same number of
steps; CLM; the settings are in `examples/pretraining/`), and prints a table in Markdown. Each part is done once: called
again, the program goes on where it was, also after it was killed. Needs nltk for the trigram model.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from pretraining.corpora import data_folder, write_corpora
from pretraining.evaluation import held_out_pairs, retrieval_accuracy, zero_shot_accuracies
from pretraining.trigrams import trigram_perplexity
from tfxlm.data import SpecialIds, open_store
from tfxlm.data.prepare import prepare_store
from tfxlm.data.vocabularies import learn_vocabulary
from tfxlm.files import read_json, write_json
from tfxlm.training import PretrainingConfig, pretrain

SETTINGS = Path(__file__).parent / "pretraining"
LANGUAGES, PAIRS = ("de", "en", "fr"), ("en-de", "en-fr")
# Held back of each corpus; of pairs, those to choose from once repetitions are left out.
HELD_OUT, CHOICES = 1100, 1000

console = Console()


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("experiment"), help="folder of all that is made")
    parser.add_argument("--vocab-size", type=int, default=4000, help="ids of the joint vocabulary (default: 4000)")
    parser.add_argument("--most", type=int, help="most pairs of each file, to try it out (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="classifiers to average over (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes that tokenize (default: 2)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of all three settings")
    return parser.parse_args()


def once(path: Path, make: Callable[[], Any]) -> None:
    """Makes something that is not there yet, and says how long it took."""
    if path.exists():
        return
    begin = time.monotonic()
    console.rule(str(path))
    make()
    console.print(f"{path}: {time.monotonic() - begin:.0f} s")


def train(name: str, work: Path, changes: list[str]) -> Path:
    """Trains one of the models, and returns its folder."""
    run = work / name
    settings = [f"store={work / 'store'}", f"output={run}", *changes]
    config = PretrainingConfig.from_file(SETTINGS / f"{name}.yaml", settings)
    # Written last.
    once(run / "results.json", lambda: pretrain(config, resume=True, console=console))
    return run / "model"


def judge(work: Path, seeds: int) -> dict[str, Any]:
    """Measures all that the table has."""
    store = open_store(work / "store")
    separator = SpecialIds.of(store.tokenizer()).separator
    choices = {pair: len(held_out_pairs(store, pair, CHOICES)) for pair in PAIRS}
    judged: dict[str, Any] = {"choices": choices, "retrieval": {}, "zero_shot": {}}
    for name in ("mlm", "mlm_tlm"):
        model = work / name / "model"
        judged["retrieval"][name] = {pair: retrieval_accuracy(model, store, pair, CHOICES) for pair in PAIRS}
        judged["zero_shot"][name] = zero_shot_accuracies(model, model, seeds)
    judged["zero_shot"]["random"] = zero_shot_accuracies(None, model, seeds)
    causal = read_json(work / "clm/results.json")["held_out"]
    judged["causal"] = {lang: causal[f"clm:{lang}"]["perplexity"] for lang in LANGUAGES}
    judged["trigrams"] = {lang: trigram_perplexity(store, lang, separator) for lang in LANGUAGES}
    return judged


def table(judged: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table."""
    retrieval, zero_shot = judged["retrieval"], judged["zero_shot"]
    yield "| what | MLM | MLM and TLM | chance, or random weights |"
    yield "|---|---|---|---|"
    for pair in PAIRS:
        figures = " | ".join(f"{retrieval[name][pair]:.1%}" for name in ("mlm", "mlm_tlm"))
        choices = judged["choices"][pair]
        yield f"| of {choices:,} held-back pairs {pair}, the translation is found | {figures} | {1 / choices:.1%} |"
    for lang in ("de", "fr"):
        figures = " | ".join(f"{zero_shot[name][lang]:.1%}" for name in ("mlm", "mlm_tlm", "random"))
        yield f"| intents learned in English, asked in {lang} | {figures} |"
    yield ""
    yield "| perplexity of held-back text, by token | CLM | trigrams |"
    yield "|---|---|---|"
    for lang in LANGUAGES:
        yield f"| {lang} | {judged['causal'][lang]:.1f} | {judged['trigrams'][lang]:.1f} |"


def main() -> None:
    """Runs all parts."""
    logging.getLogger("tfxlm").setLevel(logging.ERROR)  # a new head is nothing to be told of each time
    options = parse_arguments()
    work, text, tokenizer = options.work, options.work / "text", options.work / "tokenizer"
    corpora = work / "corpora.json"
    once(corpora, lambda: write_json(corpora, write_corpora(data_folder(), text, most=options.most)))
    places = read_json(corpora)
    monolingual = {lang: places[lang] for lang in LANGUAGES}
    made = {"size": options.vocab_size, "workers": options.workers}
    once(tokenizer, lambda: learn_vocabulary(monolingual, tokenizer, case="unicode", accents="strip", **made))
    # Retrieval and the classifiers need as many pairs as there are; what is held out of one corpus is of all.
    held_out = min(HELD_OUT, options.most // 10) if options.most else HELD_OUT
    shared = {"held_out": held_out, "workers": options.workers}
    once(work / "store", lambda: prepare_store(places, tokenizer, work / "store", **shared))
    for name in ("mlm", "mlm_tlm", "clm"):
        train(name, work, options.set)
    results = work / "results.json"
    once(results, lambda: write_json(results, judge(work, options.seeds)))
    console.print("\n".join(table(json.loads(results.read_text()))), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
