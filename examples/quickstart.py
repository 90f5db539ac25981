"""The main job from end to end: a PyTorch XLM checkpoint becomes a served Keras classifier.

Loads `examples/checkpoint`, fine-tunes it on English sentences, evaluates it on languages it was not fine-tuned on,
saves it, exports it, serves it, and asks the server over REST and gRPC.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from tfxlm import (
    Client,
    Server,
    TFXLMForSequenceClassification,
    XLMConfig,
    XLMTokenizer,
    export_model,
)

HERE = Path(__file__).parent
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
        baseline: the same for a model fine-tuned from random weights.
        answers: of the server, one per question.
    """

    accuracies: dict[str, float]
    baseline: dict[str, float]
    answers: list[Answer]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=HERE / "checkpoint", help="folder or hub name of an XLM checkpoint")
    parser.add_argument("--output", type=Path, help="where to keep the model and the export (default: nowhere)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def read_intents(lang: str) -> tuple[list[str], list[str]]:
    """Returns the sentences of a language and their intents."""
    with (HERE / "intents" / f"{lang}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices for training and for validation: the last sentences of each intent."""
    validation = np.concatenate([np.flatnonzero(labels == label)[-VALIDATION_PER_INTENT:] for label in set(labels)])
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def encode(tokenizer: XLMTokenizer, texts: list[str], lang: str) -> dict[str, np.ndarray]:
    """Tokenizes sentences of one language."""
    return tokenizer(texts, lang=lang, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="np")


def read_data(tokenizer: XLMTokenizer, intents: list[str]) -> tuple[Data, dict[str, Data]]:
    """Returns the English sentences to train on, and the test set of each language; of English those held back."""
    test_sets = {}
    for lang in LANGUAGES:
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
    make_model: Callable[[], TFXLMForSequenceClassification],
    data: Data,
    validation: Data,
    options: argparse.Namespace,
    verbose: int,
) -> TFXLMForSequenceClassification:
    """Trains a classifier with Keras's `fit`, on the model's own loss."""
    keras.utils.set_random_seed(options.seed)
    model = make_model()
    model.compile(make_optimizer(options, len(data[1])), metrics=["accuracy"])
    model.fit(*data, validation_data=validation, epochs=options.epochs, batch_size=options.batch_size, verbose=verbose)
    return model


def accuracies(model: TFXLMForSequenceClassification, test_sets: dict[str, Data]) -> dict[str, float]:
    """Evaluates a model per language."""
    return {lang: model.evaluate(*data, verbose=0, return_dict=True)["accuracy"] for lang, data in test_sets.items()}


def ask_server(folder: Path, tokenizer: XLMTokenizer) -> list[Answer]:
    """Serves the export, asks it over REST and gRPC, and prints the answers."""
    answers = []
    with Server({"intent": folder}, rest_port=0, grpc_port=0) as server:
        console.print(f"serving on {server.rest_url} (REST) and {server.grpc_address} (gRPC)")
        with Client(rest=server.rest_url) as rest, Client(grpc=server.grpc_address) as grpc:
            for lang, text in QUESTIONS.items():
                batch = encode(tokenizer, [text], lang)
                request = {
                    "input_ids": batch["input_ids"],
                    "lengths": batch["attention_mask"].sum(axis=1),
                    "langs": batch["langs"],
                }
                answer = rest.predict("intent", request)
                same = np.array_equal(answer["scores"], grpc.predict("intent", request)["scores"])
                answers.append(Answer(lang, text, str(answer["label"][0]), float(answer["score"][0]), same))
    table = Table("language", "sentence", "intent", "score", "REST = gRPC", title="Answers of the server")
    for row in answers:
        same_over_grpc = "yes" if row.same_over_grpc else "no"
        table.add_row(LANGUAGES[row.lang], row.text, row.label, f"{row.score:.2f}", same_over_grpc)
    console.print(table)
    return answers


def main(arguments: list[str] | None = None) -> Results:
    """Runs the job and returns what it printed."""
    options = parse_arguments(arguments)
    console.rule("1. Load")
    intents = sorted(set(read_intents("en")[1]))
    labels = {"id2label": dict(enumerate(intents))}
    tokenizer = XLMTokenizer.from_pretrained(options.checkpoint)

    def load() -> TFXLMForSequenceClassification:
        return TFXLMForSequenceClassification.from_pretrained(options.checkpoint, **labels)

    def random_model() -> TFXLMForSequenceClassification:
        return TFXLMForSequenceClassification(XLMConfig.from_pretrained(options.checkpoint, **labels))

    console.rule("2. Fine-tune on English")
    train, test_sets = read_data(tokenizer, intents)
    model = fine_tune(load, train, test_sets["en"], options, verbose=1)

    console.rule("3. Evaluate on languages it was not fine-tuned on")
    console.print("training the same model from random weights, to compare ...")
    baseline = accuracies(fine_tune(random_model, train, test_sets["en"], options, verbose=0), test_sets)
    found = accuracies(model, test_sets)
    table = Table("language", "sentences", "accuracy", "from random weights", "chance", title="Intent accuracy")
    for lang, accuracy in found.items():
        kind = " (held back)" if lang == "en" else " (zero-shot)"
        table.add_row(
            LANGUAGES[lang] + kind,
            str(len(test_sets[lang][1])),
            f"{accuracy:.1%}",
            f"{baseline[lang]:.1%}",
            f"{1 / len(intents):.1%}",
        )
    console.print(table)

    with tempfile.TemporaryDirectory() as scratch:
        output = options.output or Path(scratch)
        console.rule("4. Save and export")
        model.save_pretrained(output / "model")
        tokenizer.save_pretrained(output / "model")
        folder = export_model(model, tokenizer, output / "exported" / "intent")
        console.print(f"model in {output / 'model'}, SavedModel in {folder}: it answers as the model does")
        console.rule("5. Serve")
        answers = ask_server(folder.parent, tokenizer)
    return Results(found, baseline, answers)


if __name__ == "__main__":
    main()
