"""Layer normalisation as one kernel: where it is used, and that it gives what the formula gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.util import _pywrap_util_port

from tfxlm.layers import RealRows, TransformerEncoder
from tfxlm.layers.fused_normalization import MIN_POSITIONS, portable_graphs
from tfxlm.layers.normalization import LayerNormalization

DIM, LENGTH = 16, 8
BATCH = MIN_POSITIONS // LENGTH
OPEN = (None, None)
FORM, KERNEL = "FusedBatchNormV3", "_MklLayerNorm"
RNG = np.random.default_rng(0)

with_kernel = pytest.mark.skipif(
    not _pywrap_util_port.IsMklEnabled() or bool(tf.config.get_visible_devices("GPU")),
    reason="the kernel is oneDNN's, for CPUs",
)


def make_layer(epsilon: float = 1e-5, dtype: str = "float32") -> LayerNormalization:
    layer = LayerNormalization(epsilon=epsilon, dtype=dtype)
    layer.build((None, DIM))
    for weight in layer.weights:
        weight.assign(RNG.normal(size=DIM))
    return layer


def graph_of(layer: Any, grid: Any = OPEN, rows: int | None = None, dtype: str = "float32", **call: Any) -> Any:
    """The layer in a graph for `rows` rows, laid out by a mask of the shape `grid`; both open where they are None."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((rows, DIM), dtype), tf.TensorSpec(grid, tf.bool)])
    def run(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return layer(x, rows=RealRows(mask), **call)

    return run


def operations(run: Any) -> Counter[str]:
    return Counter(node.op for node in run.get_concrete_function().graph.as_graph_def().node)


def kernels(run: Any, *inputs: Any) -> Counter[str]:
    """What runs in the end: the operations, and those that are joined to one."""
    with context.collect_graphs(optimized=True) as graphs:
        run(*inputs)
    nodes = [node for graph in graphs for part in (graph, *graph.library.function) for node in operations_in(part)]
    return Counter("+".join([node.op, *(it.decode() for it in node.attr["fused_ops"].list.s)]) for node in nodes)


def operations_in(part: Any) -> Any:
    return part.node if hasattr(part, "node") else part.node_def


def expected(layer: LayerNormalization, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    gamma, beta = (weight.numpy().astype(np.float64) for weight in layer.weights)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon) * gamma + beta


@with_kernel
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5])
def test_the_kernel_gives_what_the_formula_gives(epsilon: float) -> None:
    layer, normal = make_layer(epsilon), RNG.normal(size=(300, DIM)).astype(np.float32)
    run, mask = graph_of(layer), tf.ones((BATCH, LENGTH), bool)
    found = kernels(run, tf.constant(normal), mask)
    assert found[KERNEL] == 1
    assert not {"Mean", "Square", FORM} & set(found)
    ones = np.ones_like(normal)
    inputs = {"normal": normal, "one": normal[:1], "none": normal[:0], "small": normal * 1e-8, "zero": ones * 0}
    inputs |= {"far": normal + 30, "outlier": normal + 500 * (np.arange(DIM) == 3), "constant": ones}
    for name, x in inputs.items():
        answer = run(tf.constant(x, tf.float32), mask).numpy()
        reference = expected(layer, x.astype(np.float32))
        assert np.all(np.abs(answer - reference) <= 2e-5 * np.maximum(1, np.abs(reference))), name


@with_kernel
@pytest.mark.parametrize("far", [0, 100])
def test_the_gradient_is_that_of_the_formula(far: float) -> None:
    layer, x = make_layer(), tf.constant(RNG.normal(size=(30, DIM)) + far, tf.float32)
    weights = tf.constant(RNG.normal(size=(30, DIM)), tf.float32)

    def gradients(run: Any) -> list[Any]:
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(run(x, tf.ones((BATCH, LENGTH), bool)) * weights)
            first = tape.gradient(total, [x, *(weight.value for weight in layer.weights)])
            bend = tf.reduce_sum(first[0] * weights[::-1])
        return [*first, outer.gradient(bend, x)]

    ours, theirs = gradients(graph_of(layer)), gradients(lambda x, mask: layer(x))
    for one, other in zip(ours, theirs, strict=True):
        assert np.linalg.norm(one - other) <= 2e-5 * np.linalg.norm(other)


def test_the_form_is_kept_where_no_kernel_would_take_its_place() -> None:
    layer = make_layer()
    other = {
        "a known number of rows": graph_of(layer, rows=30),
        "few positions": graph_of(layer, (BATCH - 1, LENGTH)),
        "one new token of each sequence": graph_of(layer, (None, 1)),
        "one sequence": graph_of(layer, (1, None)),
        "training": graph_of(layer, training=True),
        "float64": graph_of(make_layer(dtype="float64"), dtype="float64"),
        "half types": graph_of(make_layer(dtype="mixed_bfloat16"), dtype="bfloat16"),
    }
    for name, run in other.items():
        assert FORM not in operations(run), name
    with portable_graphs():
        assert FORM not in operations(graph_of(layer))
    compiled = tf.function(
        lambda x: layer(x, rows=RealRows(tf.ones((BATCH, LENGTH), bool))),
        input_signature=[tf.TensorSpec((None, DIM))],
        jit_compile=True,
    )
    assert FORM not in operations(compiled)


@with_kernel
@pytest.mark.parametrize("grid", [OPEN, (BATCH, LENGTH), (8, None), (None, LENGTH)], ids=str)
def test_the_form_is_used_for_many_rows(grid: Any) -> None:
    assert operations(graph_of(make_layer(), grid))[FORM] == 1


@with_kernel
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_an_encoder_leaves_one_kernel_for_each_normalisation_and_none_for_residuals(norm: str) -> None:
    encoder = TransformerEncoder(2, DIM, 2, inner_dim=32, activation="relu", norm=norm, final_norm=norm == "pre")
    encoder.build()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(OPEN, tf.bool), tf.TensorSpec((*OPEN, DIM))])
    def run(mask: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        rows = RealRows(mask)
        return encoder(rows.pack(x), rows=rows).x

    mask = np.arange(LENGTH) < np.arange(BATCH)[:, None] % LENGTH + 1
    x = RNG.normal(size=(BATCH, LENGTH, DIM)).astype(np.float32)
    found = kernels(run, tf.constant(mask), tf.constant(x))
    assert found[KERNEL] == (5 if norm == "pre" else 4)
    assert found["_FusedMatMul+BiasAdd+Add"] == 4
    rows = RealRows(tf.constant(mask))
    np.testing.assert_allclose(run(mask, x), encoder(rows.pack(tf.constant(x)), rows=rows).x, rtol=0, atol=2e-5)
