"""A program that trains each class on one device and on two, and prints what came of it as JSON.

It is a process of its own because logical devices must be configured before TensorFlow starts.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras  # noqa: E402

from tests.models.cases import CASES, Case  # noqa: E402
from tests.models.test_keras_fit import losses_of, plain  # noqa: E402

# The class without a loss of its own, one with a label for each token, and one with several labels.
COMPILED = (CASES[0], CASES[4], CASES[6])

WEIGHT = np.array([1, 0.5, 2, 3], np.float32)


def train(case: Case, strategy: Any, loss: str, **options: Any) -> dict[str, Any]:
    """Batches of 3 and 1 rows: the devices get 2 and 1 rows, and in the end 1 and none."""
    with strategy.scope():
        if not case.loss_function:
            options["metrics"] = {next(iter(case.targets)): ["accuracy"]}
        if loss == "compiled":
            options["loss"] = losses_of(case)
        model = case.compiled(keras.optimizers.SGD(0.1), **options)
    inputs, labels = ({name: value[:4] for name, value in arrays.items()} for arrays in case.data())
    weight = () if loss == "own" else (WEIGHT,)
    data = tf.data.Dataset.from_tensor_slices((inputs, plain(labels), *weight)).batch(3)
    history = model.fit(data, verbose=0).history
    losses, predicted = history["loss"], [0.0]
    if case is CASES[4]:  # one class only, as each number of rows costs time
        losses = [*losses, model.evaluate(data, verbose=0, return_dict=True)["loss"]]
        predicted = model.predict(inputs, batch_size=3, verbose=0)
    return {
        "losses": losses,
        "metrics": [values for name, values in history.items() if "accuracy" in name],
        "predicted": np.asarray(predicted[0], np.float64).tolist(),
        "weights": [np.asarray(weight).ravel().tolist() for weight in model.get_weights()],
    }


def main() -> None:
    """Eager, as tracing costs seconds for each number of rows on each device; one class in graphs."""
    one, two = tf.distribute.OneDeviceStrategy("/cpu:0"), tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    runs = [(case, "own", {"run_eagerly": True}) for case in CASES if not case.loss_function]
    runs += [(case, "compiled", {"run_eagerly": True}) for case in COMPILED]
    runs.append((CASES[4], "own", {}))
    runs = [run for run in runs if not sys.argv[1:] or str(run[0]) in sys.argv[1:]]
    for case, loss, options in runs:
        results = {name: train(case, strategy, loss, **options) for name, strategy in {"one": one, "two": two}.items()}
        mode = "eager" if options else "graph"
        print(json.dumps({"class": str(case), "loss": loss, "mode": mode, **results}), flush=True)


if __name__ == "__main__":
    main()
