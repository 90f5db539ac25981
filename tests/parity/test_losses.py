"""Losses, gradients and training of all classes that have a loss, against the PyTorch classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.parity.classes import KINDS, LANGUAGE_MODELS, WITH_LOSS, named
from tests.parity.reference import (
    CASES,
    GRADIENT_FLOOR,
    QUIET,
    SWEEP,
    TOLERANCE,
    Case,
    cases,
    close,
    compare_outputs,
    in_file_orientation,
    make_case,
    run_reference,
    to_torch,
)
from tfxlm.models.loading import weights_by_path


def trained_in(place: int, name: str) -> list[int]:
    """The configurations that a class is trained in: others for each, so that together they see all options.

    Language models, of which all others are made, are trained with absolute positions in any case.
    """
    absolute = [index for index in range(place, place + 3) if has_absolute_positions(name, index)]
    return [place] if name not in LANGUAGE_MODELS else sorted({place, *absolute[:1]})


def has_absolute_positions(name: str, index: int) -> bool:
    config = KINDS[name].family.random_config(np.random.default_rng(0), index)
    return config.get("position_embedding_type", "absolute") == "absolute"


TRAINED = [
    pytest.param(name, index, id=f"{name}-{index}")
    for place, name in enumerate(WITH_LOSS)
    for index in (range(20) if SWEEP else trained_in(place, name))
]
# Those whose summary is of kind "first", which padding on the right does not change.
FIRST = range(0, 200 if SWEEP else 12, 4)

pytestmark = QUIET


@cases(WITH_LOSS)
def test_losses(case: Case) -> None:
    for without in case.sampled(((), case.family.optional), every=2):
        inputs, real = case.batch()
        inputs = {name: value for name, value in inputs.items() if name not in without}
        what = f"without {', '.join(without) or 'nothing'}"
        compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, what)


@cases(WITH_LOSS, FIRST)
def test_losses_of_default_models(case: Case, tmp_path: Path) -> None:
    # What a model answers without a flag may differ from the reference's at padding; what it learns from does not.
    case.reference.save_pretrained(tmp_path)
    case.model = case.kind.model.from_pretrained(tmp_path)
    assert all(getattr(case.config, name) != value for name, value in case.family.as_reference.items())
    inputs, real = case.batch()
    compare_outputs(case, case.model(inputs), run_reference(case, inputs), inputs, real, "default")


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "single_label_classification"])
@cases(named("ForSequenceClassification"), range(0, CASES, 5))
def test_losses_of_problem_types(case: Case, problem: str) -> None:
    inputs, _ = case.batch(labels=False)
    rows, num_labels = len(inputs["input_ids"]), case.config.num_labels
    if problem == "single_label_classification":
        # Of one class only the loss is 0 in both.
        labels = case.rng.integers(0, num_labels, rows)
        labels[-1] = -100
    elif problem == "regression":
        shape = (rows,) if num_labels == 1 else (rows, num_labels)
        labels = case.rng.normal(size=shape).astype(np.float32)
    else:
        labels = case.rng.integers(0, 2, (rows, num_labels)).astype(np.float32)
    case.reference.config.problem_type = problem
    case.model.config = case.model.config.replace(problem_type=problem)
    inputs["labels"] = labels
    ours, reference = case.model(inputs), run_reference(case, inputs)
    close(ours.loss, reference["loss"], what=f"loss of {problem}")
    close(ours[0], reference["loss"], what="first output")


def objectives(case: Case, inputs: dict[str, Any], real: np.ndarray) -> tuple[Any, Any]:
    """What is differentiated: the loss, or a random projection of what a model without one returns; ours and theirs."""
    if case.kind.labels:
        return lambda outputs: outputs.loss, lambda outputs: outputs.loss
    dim = case.config.hidden_size
    weights = {
        "last_hidden_state": case.rng.normal(size=(*real.shape, dim)) * real[:, :, None] / real.size,
        "pooler_output": case.rng.normal(size=(len(real), dim)) / len(real),
    }
    weights = {name: (value / dim).astype(np.float32) for name, value in weights.items()}
    return (
        lambda outputs: sum(tf.reduce_sum(outputs[name] * weights[name]) for name in outputs),
        lambda outputs: sum((value * torch.from_numpy(weights[name])).sum() for name, value in outputs.items()),
    )


@cases()
def test_gradients(case: Case) -> None:
    inputs, real = case.batch()
    ours, theirs = objectives(case, inputs, real)
    case.reference.train().zero_grad()
    theirs(case.reference(**to_torch(inputs))).backward()
    parameters = {name: p for name, p in case.reference.named_parameters() if p.requires_grad}
    reference = {name: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for name, p in parameters.items()}
    variables = {path: v for path, v in weights_by_path(case.model).items() if v.trainable}
    for remove_padding in case.sampled((True, False), every=2):
        case.model.base_model.remove_padding = remove_padding
        with tf.GradientTape() as tape:
            objective = ours(case.model(inputs, training=True))
        gradients = tape.gradient(objective, [v.value for v in variables.values()], unconnected_gradients="zero")
        seen = set()
        for path, gradient in zip(variables, gradients, strict=True):
            name, array = in_file_orientation(case.model, path, tf.convert_to_tensor(gradient).numpy())
            seen.add(name)
            difference, size = np.linalg.norm(array - reference[name]), np.linalg.norm(reference[name])
            assert difference <= TOLERANCE * size + GRADIENT_FLOOR, f"{name}: {difference:.3g} of {size:.3g}"
        # A table of positions that nothing looks at is not trained here.
        assert all(p.grad is None for name, p in parameters.items() if name not in seen), set(reference) - seen


def test_which_positions_are_trained() -> None:
    trained = {(param.values[0], has_absolute_positions(*param.values)) for param in TRAINED}
    assert {(name, True) for name in LANGUAGE_MODELS} <= trained
    assert any(not absolute for _, absolute in trained)


@pytest.mark.parametrize("name, index", TRAINED)
def test_twenty_steps_of_training(name: str, index: int, tmp_path: Path) -> None:
    # Tracing costs most of the time here, and that of a layer much of it.
    case = make_case(name, index, tmp_path, **({} if SWEEP else {"num_hidden_layers": 1}))
    options = {"weight_decay": 0.05}
    optimizer = torch.optim.AdamW(
        [p for p in case.reference.parameters() if p.requires_grad], lr=2e-3, betas=(0.9, 0.98), eps=1e-8, **options
    )
    optimizer_of_ours = keras.optimizers.AdamW(2e-3, beta_1=0.9, beta_2=0.98, epsilon=1e-8, **options)
    # What a step that makes variables costs: one more trace.
    optimizer_of_ours.build(case.model.trainable_variables)
    case.model.compile(optimizer_of_ours)
    batches = [case.batch(shape=(3, 9))[0] for _ in range(4)]
    ours, reference = [], []
    for parameter in case.reference.train().parameters():
        # PyTorch would not decay weights without a gradient, as of a cluster of words that no label is in.
        parameter.grad = torch.zeros_like(parameter)
    for step in range(20):
        batch = batches[step % 4]
        ours.append(float(case.model.train_on_batch(batch)))
        case.model.reset_metrics()  # what train_on_batch returns is a running mean otherwise
        optimizer.zero_grad(set_to_none=False)
        loss = case.reference(**to_torch(batch)).loss
        loss.backward()
        optimizer.step()
        reference.append(loss.item())
    np.testing.assert_allclose(ours, reference, rtol=1e-3)
    assert len(set(reference)) == 20
