"""A program that runs the classes on JAX and prints what came of it as JSON, one line for each run.

It is a process of its own because Keras reads its backend when it is imported: ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.models.cases import BY_NAME, ROWS, Case, sampled
from tests.models.families import SWEEP
from tests.models.test_keras_fit import losses_of, plain

# Each compiled graph takes seconds: two of them are left to the sweep.
TRAINED = [
    BY_NAME[name]
    for name in (
        *("TFXLMWithLMHeadModel", "TFXLMForMultipleChoice", "TFXLMForQuestionAnswering"),
        *("TFXLMRobertaForCausalLM", "TFXLMRobertaXLForTokenClassification"),
    )
    if SWEEP or name not in ("TFXLMForMultipleChoice", "TFXLMRobertaForCausalLM")
]
CALLED = sampled("calls on JAX")

STORED = [
    BY_NAME[name] for name in ("TFXLMForQuestionAnswering", "TFXLMRobertaForMultipleChoice", "TFXLMRobertaXLModel")
]
ADAPTED = [BY_NAME[name] for name in ("TFXLMWithLMHeadModel", "TFXLMRobertaXLForMaskedLM")]
TAGGER = BY_NAME["TFXLMForTokenClassification"]


def listed(outputs: Any) -> dict[str, Any]:
    return {name: np.asarray(value, np.float64).tolist() for name, value in outputs.items()}


def forward(case: Case) -> dict[str, Any]:
    """Outputs, of a call and of `predict`, without and with everything else there is."""
    inputs, labels = case.data()
    model = case.model()
    x = inputs if case.loss_function else inputs | labels
    everything = model(x, output_hidden_states=True, output_attentions=True)
    return {
        "training": listed({name: everything[name] for name in (*case.targets.values(), "loss") if name in everything}),
        "hidden": np.asarray(everything.hidden_states[-1]).tolist(),
        "attention": np.asarray(everything.attentions[-1]).tolist(),
        "predicted": listed(model.predict(inputs, verbose=0) if case in TRAINED else model(inputs)),
    }


def training(case: Case, **options: Any) -> dict[str, Any]:
    inputs, labels = case.data()
    model = case.compiled(keras.optimizers.SGD(0.1), **options)
    history = model.fit(inputs, plain(labels), batch_size=ROWS, epochs=2, shuffle=False, verbose=0).history
    jit = model.jit_compile
    return {"jit": jit, "history": history, "weights": [np.asarray(weight).tolist() for weight in model.get_weights()]}


def files(case: Case) -> dict[str, Any]:
    """Whether models come back from files with the same answers."""
    inputs, _ = case.data()
    model = case.model()
    expected = listed(model(inputs))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        model.save_pretrained(folder)
        again = [
            keras.saving.load_model(Path(folder) / "model.keras"),
            type(model).from_pretrained(folder, **case.options),
        ]
    return {"same": [listed(other(inputs)) == expected for other in again]}


def data(case: Case) -> dict[str, Any]:
    """Losses of weighted batches from `tf.data`, of weighted classes, and of compiled losses and metrics."""
    inputs, labels = case.data()
    weight = np.array([1, 0, 2, 1, 0.5, 0, 3], np.float32)
    model = case.compiled(keras.optimizers.SGD(0.0), metrics=["accuracy"])
    batches = tf.data.Dataset.from_tensor_slices((inputs, labels["labels"], weight)).batch(ROWS)
    inside = tf.data.Dataset.from_tensor_slices(inputs | labels).batch(ROWS)
    histories = [model.evaluate(batches, verbose=0)]
    histories += [model.fit(inside, class_weight={0: 0.25, 1: 3.0}, shuffle=False, verbose=0).history["loss"]]
    case.compiled(keras.optimizers.SGD(0.0), model=model, loss=losses_of(case), metrics=["accuracy"])
    histories += [model.evaluate(inputs | labels, batch_size=7, verbose=0)]
    return {"losses": histories}


def adapted(case: Case) -> dict[str, Any]:
    """LoRA learns and is saved; int8 answers."""
    inputs, labels = case.data()
    model = case.model()
    model.enable_lora(2)
    case.compiled(keras.optimizers.SGD(0.1), model=model)
    losses = model.fit(inputs, plain(labels), batch_size=7, epochs=3, verbose=0).history["loss"]
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        same = listed(keras.saving.load_model(Path(folder) / "model.keras")(inputs)) == listed(model(inputs))
    quantized = case.model()
    quantized.quantize("int8")
    return {"losses": losses, "same": same, "int8": listed(quantized(inputs)), "exact": listed(case.model()(inputs))}


RUNS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"forward {case}": lambda case=case: forward(case) for case in CALLED},
    **{f"training {case}": lambda case=case: training(case) for case in TRAINED},
    "mixed_bfloat16": lambda: training(TAGGER, model=TAGGER.model(dtype="mixed_bfloat16")),
    **{f"files {case}": lambda case=case: files(case) for case in STORED},
    "data": lambda: data(BY_NAME["TFXLMForTokenClassification"]),
    **{f"adapted {case}": lambda case=case: adapted(case) for case in ADAPTED},
}


def main() -> None:
    """Runs all."""
    for name, run in RUNS.items():
        try:
            result = run()
        except Exception:
            result = {"error": traceback.format_exc()}
        print(
            json.dumps({"name": name, "backend": keras.backend.backend(), **result}),
            flush=True,
        )


if __name__ == "__main__":
    main()
