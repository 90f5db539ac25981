"""What is done to the layers of a model after it was made: frozen, quantized, given LoRA weights."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from tfxlm.errors import InputError
from tfxlm.layers import Dense, Embedding

State = dict[str, Any]


def enable_lora(model: keras.Model, body: keras.layers.Layer, rank: int, lora_alpha: float | None, layers: str) -> None:
    """Gives layers of a model's body LoRA weights, and freezes its other layers.

    Args:
        model: a built model.
        body: the part of it to look for layers in.
        rank, lora_alpha: see `keras.layers.Dense.enable_lora`.
        layers: regular expression that the paths of the layers to adapt contain.

    Raises:
        InputError: when no dense layer or embedding matches.
    """
    inside = {id(layer) for layer in body._flatten_layers()}
    found = [(path, layer) for path, layer in _layers(model) if id(layer) in inside]
    adapted = [layer for path, layer in found if isinstance(layer, Dense | Embedding) and re.search(layers, path)]
    if not adapted:
        known = sorted({path.rpartition("/")[2] for path, layer in found if isinstance(layer, Dense | Embedding)})
        raise InputError(f"No layer's path contains {layers!r}. The layers that take LoRA are: {', '.join(known)}.")
    for _, layer in found:
        is_leaf = not any(True for _ in layer._flatten_layers(include_self=False))
        if is_leaf and layer not in adapted:
            layer.trainable = False
    for layer in adapted:
        layer.enable_lora(rank, lora_alpha=lora_alpha)


def layer_states(model: keras.Model) -> dict[str, State]:
    """Returns the state of each layer that has weights, as JSON types, by its path within the model.

    Args:
        model: a built model.

    Returns:
        `trainable`; `lora`, rank and alpha, where the layer has it; `quantization`, mode and configuration, where it is
        quantized.
    """
    states = {}
    for path, layer in _layers(model):
        state: State = {"trainable": layer.trainable}
        if getattr(layer, "lora_enabled", False):
            state["lora"] = {"rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}
        if layer.quantization_mode is not None:
            config = keras.saving.serialize_keras_object(layer.quantization_config)
            state["quantization"] = {"mode": layer.quantization_mode, "config": config}
        states[path] = state
    return states


def restore_layer_states(model: keras.Model, states: Mapping[str, State]) -> None:
    """Brings the layers of a new model into the states of another; their weights are read afterwards.

    Args:
        model: a model of the same class and configuration.
        states: of the other, see `layer_states`.
    """
    layers = dict(_layers(model))
    # Parents come first, and pass on what they are told.
    for path, state in states.items():
        if layers[path].trainable != state["trainable"]:
            layers[path].trainable = state["trainable"]
    with quick_replacement():
        for path, state in states.items():
            if "quantization" in state:
                config = keras.saving.deserialize_keras_object(state["quantization"]["config"])
                layers[path].quantize(state["quantization"]["mode"], config=config)
            if "lora" in state:
                layers[path].enable_lora(**state["lora"])


@contextmanager
def quick_replacement() -> Iterator[None]:
    """Makes Keras replace the weights of layers in less time.

    It collects garbage for each of them, which goes through all that the process holds: a quarter of a second with
    TensorFlow loaded. Inside the block only what is new is looked at.
    """
    # What the application has frozen stays so, and its own objects are few.
    is_frozen = gc.get_freeze_count() > 0
    if not is_frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not is_frozen:
            gc.unfreeze()


def _layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    root = len(model.path)
    for layer in model._flatten_layers():
        if layer.weights:
            yield layer.path[root:].lstrip("/"), layer
