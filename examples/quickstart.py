"""The main job from end to end: a PyTorch checkpoint becomes a served Keras classifier.

Loads a checkpoint, fine-tunes it on English sentences, evaluates it on languages it was not fine-tuned on, saves it,
exports it, serves it, and asks the server over REST and gRPC. The checkpoint is `examples/checkpoint`, a small XLM that
was trained for this; or, for the family xlm-roberta, a tiny one with random weights that is made on the way; or yours.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from tfxlm import AutoConfig, AutoTokenizer, Client, Server, TFAutoModelForSequenceClassification, export_model

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Start:
    """Where a family starts from.

    Args:
        checkpoint: the folder; None for one with random weights that is made on the way.
        learning_rate: the highest of the schedule.
    """

    checkpoint: Path | None
    learning_rate: float


FAMILIES = {"xlm": Start(HERE / "checkpoint", 3e-4), "xlm-roberta": Start(None, 1e-3)}
# Tensors by name, and the intent of each row.
Data = tuple[dict[str, np.ndarray], np.ndarray]

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ru": "Russian", "ar": "Arabic"}
# Sentences of each intent that are kept for validation in the language of fine-tuning.
VALIDATION_PER_INTENT = 5
MAX_LENGTH = 64

QUESTIONS = {
    "en": "Will it rain in Paris tomorrow?",
    "de": "Spiel bitte etwas Musik.",
    "fr": "Réveille-moi demain à sept heures.",
    "ru": "Какая погода будет завтра?",
    "ar": "أريد حجز تذكرة طائرة إلى باريس",
}

console = Console()


@dataclass(frozen=True)
class Answer:
    """What the server says of one sentence."""

    lang: str
    text: str
    label: str
    score: float
    same_over_grpc: bool


@dataclass(frozen=True)
class Results:
    """What the job found.

    Args:
        accuracies: accuracy of the fine-tuned model by language.
        baseline: the same for a model fine-tuned from random weights; empty where that is what was fine-tuned.
        answers: of the server, one per question.
    """

    accuracies: dict[str, float]
    baseline: dict[str, float]
    answers: list[Answer]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, default="xlm", help="whose checkpoint to take (default: xlm)")
    parser.add_argument("--checkpoint", help="folder or hub name of a checkpoint of any family, in place of that")
    parser.add_argument("--output", type=Path, help="where to keep the model and the export (default: nowhere)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, help="the highest (default: what suits the family's checkpoint)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.learning_rate = options.learning_rate or FAMILIES[options.family].learning_rate
    return options


def read_intents(lang: str) -> tuple[list[str], list[str]]:
    """Returns the sentences of a language and their intents."""
    with (HERE / "intents" / f"{lang}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices for training and for validation: the last sentences of each intent."""
    validation = np.concatenate([np.flatnonzero(labels == label)[-VALIDATION_PER_INTENT:] for label in set(labels)])
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def languages_of(tokenizer: Any) -> list[str]:
    """Returns the languages with intents that a tokenizer knows; one that knows none by name takes all."""
    return [lang for lang in LANGUAGES if not tokenizer.lang2id or lang in tokenizer.lang2id]


def encode(tokenizer: Any, texts: list[str], lang: str) -> dict[str, np.ndarray]:
    """Tokenizes sentences of one language."""
    return tokenizer(texts, lang=lang, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="np")


def read_data(tokenizer: Any, intents: list[str]) -> tuple[Data, dict[str, Data]]:
    """Returns the English sentences to train on, and the test set of each language; of English those held back."""
    test_sets = {}
    for lang in languages_of(tokenizer):
        texts, names = read_intents(lang)
        test_sets[lang] = (encode(tokenizer, texts, lang), np.array([intents.index(name) for name in names]))
    x, y = test_sets["en"]
    train, test_sets["en"] = [({name: array[rows] for name, array in x.items()}, y[rows]) for rows in split(y)]
    return train, test_sets


def make_optimizer(options: argparse.Namespace, examples: int) -> keras.optimizers.Optimizer:
    """Makes AdamW with a learning rate that rises over the first tenth of the steps and then falls to zero."""
    steps = options.epochs * -(-examples // options.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=options.learning_rate, warmup_steps=steps // 10
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0)


def fine_tune(
    make_model: Callable[[], Any],
    data: Data,
    validation: Data,
    options: argparse.Namespace,
    verbose: int,
) -> Any:
    """Trains a classifier with Keras's `fit`, on the model's own loss."""
    keras.utils.set_random_seed(options.seed)
    model = make_model()
    model.compile(make_optimizer(options, len(data[1])), metrics=["accuracy"])
    model.fit(*data, validation_data=validation, epochs=options.epochs, batch_size=options.batch_size, verbose=verbose)
    return model


def accuracies(model: Any, test_sets: dict[str, Data]) -> dict[str, float]:
    """Evaluates a model per language."""
    return {lang: model.evaluate(*data, verbose=0, return_dict=True)["accuracy"] for lang, data in test_sets.items()}


def ask_server(folder: Path, takes_lang: bool, languages: list[str]) -> list[Answer]:
    """Serves the export, asks it over REST and gRPC, and prints the answers."""
    answers = []
    with Server({"intent": folder}, rest_port=0, grpc_port=0) as server:
        console.print(f"serving on {server.rest_url} (REST) and {server.grpc_address} (gRPC)")
        with Client(rest=server.rest_url) as rest, Client(grpc=server.grpc_address) as grpc:
            for lang in languages:
                text = QUESTIONS[lang]
                # The tokenizer is in the export. XLM has to be told the language, XLM-RoBERTa finds it out.
                told = lang if takes_lang else None
                answer = rest.classify_text("intent", text, lang=told)
                same = answer == grpc.classify_text("intent", text, lang=told)
                answers.append(Answer(lang, text, answer.label, answer.score, same))
    table = Table("language", "sentence", "intent", "score", "REST = gRPC", title="Answers of the server")
    for row in answers:
        same_over_grpc = "yes" if row.same_over_grpc else "no"
        table.add_row(LANGUAGES[row.lang], row.text, row.label, f"{row.score:.2f}", same_over_grpc)
    console.print(table)
    return answers


def make_checkpoint(folder: Path) -> Path:
    """Makes a tiny checkpoint with random weights in `folder`."""
    # A sibling, which is not on the path where this file is imported and not run.
    sys.path.insert(0, str(HERE))
    import tiny_xlm_roberta

    tiny_xlm_roberta.make_checkpoint(folder)
    console.print("made a tiny checkpoint with random weights: it can learn some English here, and no other language")
    return folder


def print_accuracies(found: dict[str, float], baseline: dict[str, float], test_sets: dict[str, Data]) -> None:
    """Prints the accuracy in each language, of the model and of one that started from random weights."""
    table = Table("language", "sentences", "accuracy", "from random weights", "chance", title="Intent accuracy")
    intents = len(set(test_sets["en"][1]))
    for lang, accuracy in found.items():
        kind = " (held back)" if lang == "en" else " (zero-shot)"
        random = f"{baseline[lang]:.1%}" if baseline else "the same"
        figures = (f"{accuracy:.1%}", random, f"{1 / intents:.1%}")
        table.add_row(LANGUAGES[lang] + kind, str(len(test_sets[lang][1])), *figures)
    console.print(table)


def run(options: argparse.Namespace, scratch: Path) -> Results:
    """Runs the job; what is not to be kept goes into `scratch`."""
    console.rule("1. Load")
    output, trained = options.output or scratch, options.checkpoint or FAMILIES[options.family].checkpoint
    checkpoint = trained or make_checkpoint(scratch / "checkpoint")
    intents = sorted(set(read_intents("en")[1]))
    labels = {"id2label": dict(enumerate(intents))}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def load() -> Any:
        return TFAutoModelForSequenceClassification.from_pretrained(checkpoint, **labels)

    def random_model() -> Any:
        return TFAutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(checkpoint, **labels))

    console.rule("2. Fine-tune on English")
    train, test_sets = read_data(tokenizer, intents)
    model = fine_tune(load, train, test_sets["en"], options, verbose=1)

    console.rule("3. Evaluate on languages it was not fine-tuned on")
    baseline, found = {}, accuracies(model, test_sets)
    if trained:
        console.print("training the same model from random weights, to compare ...")
        baseline = accuracies(fine_tune(random_model, train, test_sets["en"], options, verbose=0), test_sets)
    print_accuracies(found, baseline, test_sets)

    console.rule("4. Save and export")
    model.save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")
    folder = export_model(model, tokenizer, output / "exported" / "intent")
    console.print(f"model in {output / 'model'}, SavedModel in {folder}: it answers as the model does")
    console.rule("5. Serve")
    return Results(found, baseline, ask_server(folder.parent, bool(tokenizer.lang2id), languages_of(tokenizer)))


def main(arguments: list[str] | None = None) -> Results:
    """Runs the job and returns what it printed."""
    with tempfile.TemporaryDirectory() as scratch:
        return run(parse_arguments(arguments), Path(scratch))


if __name__ == "__main__":
    main()
