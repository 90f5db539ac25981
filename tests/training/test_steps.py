"""One step of training in other ways: in parts, in half precision, and compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests.training.support import LIVES, MODEL, settings
from tfxlm import TFXLMWithLMHeadModel, XLMConfig
from tfxlm.training import PretrainingConfig, pretrain, token_metrics
from tfxlm.training.recipes import make_model, make_optimizer

SMALL = XLMConfig(vocab_size=30, emb_dim=8, n_heads=2, n_layers=2, dropout=0.0, attention_dropout=0.0)
PRODUCTS = ("MatMul", "BatchMatMulV2", "Einsum", "_FusedMatMul")


def compiled(**changes: Any) -> TFXLMWithLMHeadModel:
    given = {"warmup_steps": 1, "schedule": "constant", "learning_rate": 0.1, **changes}
    config = PretrainingConfig(store="s", output="o", objectives="mlm:en", steps=10, **given)
    keras.utils.set_random_seed(0)
    model = make_model(config, SMALL)
    model.compile(make_optimizer(config), weighted_metrics=token_metrics())
    return model


def batch(rows: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    positions = np.tile(np.array([1, 4]), (rows, 1))
    inputs = {"input_ids": rng.integers(6, 30, (rows, 6)), "masked_positions": positions}
    return inputs, rng.integers(6, 30, (rows, 2)), np.ones((rows, 2), np.float32)


def test_accumulated_gradients_are_those_of_one_large_batch() -> None:
    """With an epsilon beside which the noise of sums in another order is nothing."""
    options = {"clip_norm": 0.1, "epsilon": 1e-3, "weight_decay": 0.5, "ema": 0.5}
    whole, parts = compiled(**options), compiled(**options, accumulate=3)
    before = parts.get_weights()
    for _ in range(3):
        given = batch(6)
        whole.train_on_batch(*given)
        for begin in (0, 2, 4):
            parts.train_on_batch(*tf.nest.map_structure(lambda array, at=begin: array[at : at + 2], given))
    assert int(parts.optimizer.iterations) == int(whole.optimizer.iterations) == 3
    for weight, one, other, old in zip(whole.weights, whole.get_weights(), parts.get_weights(), before, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=5e-6, err_msg=weight.path)
        assert weight.name not in ("kernel", "embeddings") or np.abs(one - old).max() > 1e-3, weight.path
    averages = (it.optimizer._model_variables_moving_average for it in (whole, parts))
    for weight, one, other in zip(whole.trainable_variables, *averages, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=5e-6, err_msg=weight.path)
        assert weight.name != "embeddings" or np.abs(one - weight).max() > 1e-3


def nodes(graph: tf.Graph) -> Iterator[Any]:
    definition = graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def test_half_precision_is_that_of_every_layer_and_product() -> None:
    model = compiled(precision="mixed_bfloat16")
    for layer in model._flatten_layers():
        assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32"), layer.path
    given = tf.nest.map_structure(tf.constant, batch(4))
    step = tf.function(lambda *data: model.train_step(data), autograph=False).get_concrete_function(*given)
    kinds = {tf.as_dtype(node.attr["T"].type) for node in nodes(step.graph) if _is_product(node)}
    # 6 of each layer and 2 of its attention forward, twice as many backward, and the scores of tokens.
    assert kinds == {tf.bfloat16} and sum(map(_is_product, nodes(step.graph))) >= 3 * (2 * 8 + 1)
    assert {variable.dtype for variable in model.optimizer.variables} <= {"float32", "int64", "int32"}


def _is_product(node: Any) -> bool:
    """Whether a node multiplies matrices; sums, which are products with a vector of ones, stay exact."""
    return node.op in PRODUCTS and "MatVec" not in node.name


def test_compiled_steps_learn_the_same(store: Path, tmp_path: Path) -> None:
    model = {**MODEL, "dropout": 0.0, "attention_dropout": 0.0}
    changes: dict[str, Any] = {**LIVES, "model": model, "steps": 3, "warmup_steps": 1, "epsilon": 1e-3}
    results = [pretrain(settings(store, tmp_path / str(xla), **changes, xla=xla)) for xla in (False, True)]
    plain, other = (safetensors.numpy.load_file(result.folder / "model.safetensors") for result in results)
    for name, value in plain.items():
        np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-5, err_msg=name)
    losses = [result.trained["mlm:en"].loss for result in results]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
