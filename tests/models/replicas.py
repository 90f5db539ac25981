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

from tests.models.cases import BY_NAME, Case  # noqa: E402
from tests.models.test_keras_distribution import MEASURED, RUNS  # noqa: E402
from tests.models.test_keras_fit import losses_of, plain  # noqa: E402

WEIGHT = np.array([1, 0.5, 2, 3], np.float32)


def train(case: Case, strategy: Any, loss: str, variant: str, **options: Any) -> dict[str, Any]:
    """Batches of 3 and 1 rows: the devices get 2 and 1 rows, and in the end 1 and none."""
    left_out = variant.removeprefix("without ")
    changes = {"summary_type": variant} if variant and left_out == variant else {}
    with strategy.scope():
        if not case.loss_function:
            options["metrics"] = {next(iter(case.targets)): ["accuracy"]}
        if loss == "compiled":
            options["loss"] = losses_of(case)
        model = case.compiled(keras.optimizers.SGD(0.1), model=case.model(**changes), **options)
    inputs, labels = ({name: value[:4] for name, value in arrays.items()} for arrays in case.data())
    inputs.pop(left_out, None)
    weight = () if loss == "own" else (WEIGHT,)
    data = tf.data.Dataset.from_tensor_slices((inputs, plain(labels), *weight)).batch(3)
    history = model.fit(data, verbose=0).history
    losses, predicted = history["loss"], {}
    if str(case) in MEASURED:
        losses = [*losses, model.evaluate(data, verbose=0, return_dict=True)["loss"]]
        predicted = model.predict(inputs, batch_size=3, verbose=0)
    return {
        "losses": losses,
        "metrics": [values for name, values in history.items() if "accuracy" in name],
        "predicted": {name: np.asarray(value, np.float64).tolist() for name, value in predicted.items()},
        "weights": [np.asarray(weight).ravel().tolist() for weight in model.get_weights()],
    }


def main() -> None:
    """Runs all, or those of the classes that are named."""
    one, two = tf.distribute.OneDeviceStrategy("/cpu:0"), tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    for run in RUNS:
        name, loss, mode, variant = run
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        options = {"run_eagerly": True} if mode == "eager" else {}
        strategies = {"one": one, "two": two}
        results = {
            key: train(BY_NAME[name], strategy, loss, variant, **options) for key, strategy in strategies.items()
        }
        print(json.dumps({"run": run, **results}), flush=True)


if __name__ == "__main__":
    main()
