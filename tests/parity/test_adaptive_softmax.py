"""The adaptive softmax against PyTorch's layer, and against the files that `transformers` writes with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
import transformers

from tests.parity.reference import CASES, GRADIENT_FLOOR, SEED, TOLERANCE, close
from tfxlm.checkpoints import open_checkpoint, plan
from tfxlm.checkpoints.maps.xlm import XLM
from tfxlm.layers import AdaptiveSoftmax


def make_pair(index: int) -> tuple[Any, AdaptiveSoftmax, np.random.Generator]:
    """Makes PyTorch's layer with random weights, and ours with the same ones, by the names of the map."""
    rng = np.random.default_rng([SEED, index])
    dim, words = int(rng.integers(20, 40)), int(rng.integers(25, 60))
    cutoffs = sorted(rng.choice(np.arange(1, words), size=1 + index % 4, replace=False).tolist())
    div_value = float(rng.choice([1.0, 1.5, 2.0]))
    torch.manual_seed(index)
    reference = torch.nn.AdaptiveLogSoftmaxWithLoss(dim, words, cutoffs, div_value=div_value, head_bias=True)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    layer = AdaptiveSoftmax(dim, words, cutoffs, div_value=div_value, name="pred_layer")
    layer.build()
    parameters = dict(reference.named_parameters())
    for weight in layer.weights:
        name = XLM.tensor_name(weight.path).removeprefix("pred_layer.proj.")
        value = parameters.pop(name).detach().numpy()
        weight.assign(value.T if value.ndim == 2 else value)
    assert not parameters
    return reference, layer, rng


@pytest.mark.parametrize("index", range(CASES))
def test_values_loss_and_gradients(index: int) -> None:
    reference, layer, rng = make_pair(index)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 12)))
    x = rng.normal(size=(*shape, layer.dim)).astype(np.float32)
    labels = rng.integers(0, layer.vocab_size, shape).astype(np.int32)
    flat = torch.from_numpy(x).reshape(-1, layer.dim).requires_grad_()
    outputs = reference(flat, torch.from_numpy(labels.reshape(-1).astype(np.int64)))
    outputs.loss.backward()
    close(tf.reshape(layer(x), (-1, layer.vocab_size)), reference.log_prob(flat), what="log-probabilities")
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        targets = layer.target_log_probs(tensor, labels)
        loss = -tf.reduce_mean(targets)
    close(tf.reshape(targets, (-1,)), outputs.output, what="log-probabilities of the labels")
    close(loss, outputs.loss, what="loss")
    weights = layer.trainable_weights
    zero = tf.UnconnectedGradients.ZERO
    found = tape.gradient(loss, [tensor, *weights], unconnected_gradients=zero)
    parameters = dict(reference.named_parameters())
    expected = [flat.grad.reshape(x.shape)]
    for weight in weights:
        gradient = parameters[XLM.tensor_name(weight.path).removeprefix("pred_layer.proj.")].grad
        expected.append(
            torch.zeros(tuple(weight.shape)) if gradient is None else gradient.T if gradient.ndim == 2 else gradient
        )
    for ours, theirs in zip(found, expected, strict=True):
        difference = np.linalg.norm(np.asarray(tf.convert_to_tensor(ours)) - theirs.numpy())
        assert difference <= TOLERANCE * np.linalg.norm(theirs.numpy()) + GRADIENT_FLOOR


@pytest.mark.parametrize("safe_serialization", [True, False])
def test_names_in_files(tmp_path: Path, safe_serialization: bool) -> None:
    """Every variable finds its tensor; what is left is the tied table that the layer does not use."""
    config = transformers.XLMConfig(
        vocab_size=40, emb_dim=16, n_heads=2, n_layers=1, asm=True, asm_cutoffs=[8, 20], asm_div_value=2.0
    )
    reference = transformers.XLMWithLMHeadModel(config)
    reference.save_pretrained(tmp_path, safe_serialization=safe_serialization)
    layer = AdaptiveSoftmax(16, 40, [8, 20], div_value=2.0, name="pred_layer")
    layer.build()
    head = {weight.path: tuple(weight.shape) for weight in layer.weights}
    rest = {
        XLM.variable_path(name): XLM.match_tensor(name).transform.shape(tuple(value.shape))
        for name, value in reference.state_dict().items()
        if not name.startswith("pred_layer.")
    }
    with open_checkpoint(tmp_path) as checkpoint:
        report = plan(XLM, checkpoint, {**rest, **head}).report.check()
    assert not report.new and not report.unused
    assert report.tied == (() if safe_serialization else ("pred_layer.proj.weight",))
