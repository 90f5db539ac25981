"""What every model class must do, as one call: `check_model(cls, config)`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxlm.checkpoints import open_checkpoint
from tfxlm.models import ModelOutput, TFPreTrainedModel
from tfxlm.models.loading import weights_by_path
from tfxlm.models.tasks import MultipleChoice


def perturb(model: keras.Model, seed: int = 0) -> Any:
    """Gives every weight random values, the same in every model of a configuration: no bias is 0, no norm 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.2 + weight.path.endswith("gamma"))
    return model


def random_inputs(
    config: Any, *, lengths: tuple[int, ...] = (6, 3, 4), choices: int = 0, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draws right-padded inputs; languages and token types only where the model has embeddings for several.

    With `choices`, that many `lengths` after each other are one row, (batch, choices, length).
    """
    rng = np.random.default_rng(seed)
    real = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = rng.integers(config.pad_index + 1, config.vocab_size, real.shape)
    inputs = {"input_ids": np.where(real, ids, config.pad_index), "attention_mask": real.astype(np.int32)}
    if config.uses_lang_embeddings:
        inputs["langs"] = rng.integers(0, config.n_langs, real.shape)
    if getattr(config, "type_vocab_size", 1) > 1:
        inputs["token_type_ids"] = rng.integers(0, config.type_vocab_size, real.shape)
    if choices:
        inputs = {name: value.reshape(-1, choices, real.shape[-1]) for name, value in inputs.items()}
    if getattr(config, "add_cross_attention", False):
        inputs |= encoder_inputs(config, len(lengths))
    return inputs


def encoder_inputs(config: Any, rows: int) -> dict[str, np.ndarray]:
    """Draws what an encoder has made of other texts, with padding."""
    rng = np.random.default_rng(rows)
    mask = np.arange(5) < rng.integers(1, 6, rows)[:, None]
    states = rng.normal(size=(rows, 5, config.hidden_size)).astype(np.float32)
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask.astype(np.int32)}


def lengthened(inputs: dict[str, np.ndarray], more: int, padding: int) -> dict[str, np.ndarray]:
    """Adds padding to each text."""
    own = {name: value for name, value in inputs.items() if not name.startswith("encoder_")}
    longer = {name: np.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, more)]) for name, value in own.items()}
    longer["input_ids"][..., -more:] = padding
    return inputs | longer


def only_row(inputs: dict[str, np.ndarray], row: int, length: int) -> dict[str, np.ndarray]:
    """Leaves out other rows, and what is behind `length`."""
    rows = {name: value[row : row + 1] for name, value in inputs.items()}
    return {name: value if name.startswith("encoder_") else value[..., :length] for name, value in rows.items()}


def check_model(cls: type[TFPreTrainedModel], config: Any, tmp_path: Path, **options: Any) -> None:
    """Checks names, outputs, independence of padding and batch, and both ways of saving."""
    model = perturb(cls(config, **options))
    chooses = isinstance(model, MultipleChoice)
    inputs = random_inputs(config, lengths=(6, 2, 3, 1, 4, 5) if chooses else (6, 3, 4), choices=2 if chooses else 0)
    inputs = {name: value for name, value in inputs.items() if name in cls.signature.parameters}
    outputs = model(inputs)
    check_names(model)
    check_outputs(outputs)
    check_padding(model, inputs, outputs)
    check_checkpoint(model, inputs, outputs, tmp_path / "checkpoint")
    check_keras_file(model, inputs, outputs, tmp_path)


def check_names(model: TFPreTrainedModel) -> None:
    """The name map covers every variable, one to one."""
    paths = weights_by_path(model)
    assert len(paths) == len(model.weights)
    matches = [model.name_map.match_variable(path) for path in paths]
    assert len({match.tensor for match in matches}) == len(paths)
    assert all(model.name_map.match_tensor(match.tensor) == match for match in matches)


def unused_rules(models: Iterable[TFPreTrainedModel]) -> list[str]:
    """Rules of the name map that no variable of any of the models uses."""
    rules, used = set(), set()
    for model in models:
        rules |= {rule.variable.replace("{i}", "0") for rule in model.name_map.rules}
        used |= {model.name_map.match_variable(path).variable for path in weights_by_path(model)}
    return sorted(rules - used)


def check_outputs(outputs: ModelOutput) -> None:
    """Attribute, key and position read the same; trees of Keras and TensorFlow see the tensors and keep the type."""
    for position, name in enumerate(outputs):
        assert outputs[name] is outputs[position] is getattr(outputs, name) is outputs.to_tuple()[position]
    tree_mapped = keras.tree.map_structure(lambda x: x, outputs)
    nest_mapped = tf.nest.map_structure(lambda x: x, outputs)
    for mapped in (tree_mapped, nest_mapped):
        assert type(mapped) is type(outputs) and list(mapped) == list(outputs)
        tensors = zip(keras.tree.flatten(mapped), keras.tree.flatten(outputs), strict=True)
        assert all(left is right for left, right in tensors)


# Outputs with an axis of positions after that of the batch.
PER_POSITION = ("last_hidden_state", "start_logits", "end_logits")


def real_part(outputs: ModelOutput, name: str, row: int, length: int) -> np.ndarray:
    """The part of an output that belongs to one sequence."""
    value = np.asarray(outputs[name])[row]
    return value[:length] if name in PER_POSITION or (name == "logits" and value.ndim > 1) else value


def check_padding(model: Any, inputs: dict[str, np.ndarray], outputs: ModelOutput) -> None:
    """A sequence has one answer: alone, in a batch, with more padding, with padding removed or not.

    A decoder's cache, which comes with eager calls alone, has places for padding too.
    """
    lengths = inputs["attention_mask"].sum(-1).reshape(len(inputs["input_ids"]), -1).max(-1)
    longer = lengthened(inputs, 3, model.config.pad_index)
    others = {"longer": model(longer), "graph": tf.function(lambda x: model(x))(inputs)}
    model.base_model.remove_padding = False
    others["kept"] = model(inputs)
    model.base_model.remove_padding = True
    for row, length in enumerate(lengths):
        alone = model(only_row(inputs, row, length))
        for name in outputs.keys() - {model.backbone_class.cache_name}:
            expected = real_part(outputs, name, row, length)
            np.testing.assert_allclose(real_part(alone, name, 0, length), expected, atol=2e-5, err_msg="alone")
            for what, other in others.items():
                np.testing.assert_allclose(real_part(other, name, row, length), expected, atol=2e-5, err_msg=what)


def check_same(left: Any, right: Any) -> None:
    """Outputs agree bit for bit."""
    assert list(left) == list(right)
    for one, other in zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True):
        np.testing.assert_array_equal(one, other)


def check_checkpoint(model: Any, inputs: dict[str, np.ndarray], outputs: ModelOutput, folder: Path) -> None:
    """`save_pretrained` and `from_pretrained`: the same weights under the names of the map."""
    model.save_pretrained(folder)
    with open_checkpoint(folder) as checkpoint:
        stored = set(checkpoint.names())
    expected = {
        model.name_map.file_name(model.name_map.tensor_name(path), bare=not model.has_head)
        for path in weights_by_path(model)
    }
    assert stored == expected
    again, report = type(model).from_pretrained(folder, output_loading_info=True, **model.options)
    assert report.loaded == len(model.weights) and not (report.missing or report.new or report.unused)
    assert again.config.architectures == [model.architecture]
    check_same(again(inputs), outputs)


def check_keras_file(model: Any, inputs: dict[str, np.ndarray], outputs: ModelOutput, folder: Path) -> None:
    """`.keras` and `.weights.h5` files."""
    model.save(folder / "model.keras")
    again = keras.saving.load_model(folder / "model.keras")
    assert type(again) is type(model) and again.config.to_dict() == model.config.to_dict()
    check_same(again(inputs), outputs)
    model.save_weights(folder / "model.weights.h5")
    fresh = type(model)(model.config, **model.options)
    fresh.load_weights(folder / "model.weights.h5")
    check_same(fresh(inputs), outputs)
