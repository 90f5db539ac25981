"""The few places where layers and models need more than `keras.ops`: one door to TensorFlow and to Keras internals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from tfxlm import trees
from tfxlm.errors import ArgumentError, InputError

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"

if IS_TENSORFLOW:
    import tensorflow as tf


def register_mapping(cls: type[dict]) -> None:
    """Makes Keras (and the active backend) look into a dict subclass as into a dict, keeping its type and order."""
    flatten, unflatten = trees.register_mapping(cls)
    if keras.backend.backend() == "jax":
        import jax

        jax.tree_util.register_pytree_node(cls, flatten, unflatten)
    elif keras.backend.backend() == "torch":
        from torch.utils import _pytree

        _pytree.register_pytree_node(cls, flatten, lambda values, keys: unflatten(keys, values))


def can_find_rows() -> bool:
    """Whether the number of rows may depend on the data here: in TensorFlow, outside XLA."""
    return IS_TENSORFLOW and not _in_xla()


def _in_xla() -> bool:
    # TensorFlow has no public question for "is this being traced with jit_compile=True".
    from tensorflow.python.ops import control_flow_util

    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def is_concrete(tensor: Any) -> bool:
    """Whether the values of `tensor` can be read now, without running a graph."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    if IS_TENSORFLOW:
        return not tf.is_tensor(tensor) or hasattr(tensor, "numpy")
    if keras.backend.backend() == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    return True


def known_value(scalar: Any) -> int | None:
    """Returns an integer scalar as a number where it is known: outside graphs, and as a constant of a TensorFlow graph.

    Args:
        scalar: a number or scalar tensor.
    """
    if is_concrete(scalar):
        return int(scalar)
    value = tf.get_static_value(scalar) if IS_TENSORFLOW and tf.is_tensor(scalar) else None
    return None if value is None else int(value)


def how_to_densify(value: Any) -> str | None:
    """Returns the expression that makes a ragged or sparse tensor dense; None for everything else."""
    if IS_TENSORFLOW:
        kinds = {tf.RaggedTensor: ".to_tensor()", tf.SparseTensor: "tf.sparse.to_dense(...)"}
        return next((way for kind, way in kinds.items() if isinstance(value, kind)), None)
    return None


# Of the integer types that hold more than int32: the part that int32 holds too.
_BOUNDS = {"int64": (-(2**31), 2**31 - 1), "uint32": (0, 2**31 - 1), "uint64": (0, 2**31 - 1)}


def to_int32(ids: Any) -> Any:
    """Casts integers to int32.

    What does not fit becomes the nearest number that does: so no id turns into another one, and `check_range` finds it.
    """
    bounds = _BOUNDS.get(keras.backend.standardize_dtype(ids.dtype))
    return ops.cast(ids if bounds is None else ops.clip(ids, *bounds), "int32")


def softmax(scores: Any) -> Any:
    """Returns the softmax over the last axis.

    `keras.ops.softmax` warns when that axis has one element, as it has for a sequence of one token.
    """
    if IS_TENSORFLOW:
        return tf.nn.softmax(scores, axis=-1)
    # Keras looks only at axes that are a number.
    return ops.softmax(scores, axis=(len(scores.shape) - 1,))


def argmax(scores: Any) -> Any:
    """Returns the place of the highest score over the last axis, int32; the first of equal ones.

    `keras.ops.argmax` first looks for negative zeros, in several passes over all scores.
    """
    return tf.argmax(scores, axis=-1, output_type=tf.int32) if IS_TENSORFLOW else ops.argmax(scores, axis=-1)


def check_range(ids: Any, limit: Any, message: str) -> Any:
    """Checks that all of `ids` are in [0, limit) and returns them.

    Args:
        ids: integer tensor of any shape.
        limit: exclusive upper bound, a number or an integer scalar.
        message: what to say when they are not; the smallest and largest value found are added where they are known.

    Raises:
        InputError: outside a graph. Inside a TensorFlow graph an assertion raises `InvalidArgumentError` with the
            same message when it runs; a compiled (XLA, JAX) graph cannot check.
    """
    if is_concrete(ids) and is_concrete(limit):
        values = ids.numpy() if hasattr(ids, "numpy") else ops.convert_to_numpy(ids)
        if values.size and (values.min() < 0 or values.max() >= limit):
            raise InputError(f"{message} Found values from {values.min()} to {values.max()}.")
        return ids
    if isinstance(ids, keras.KerasTensor) or not can_find_rows():
        return ids
    inside = tf.logical_and(tf.reduce_all(ids >= 0), tf.reduce_all(ids < limit))
    with tf.control_dependencies([tf.debugging.Assert(inside, [message], summarize=1)]):
        return tf.identity(ids)


def num_replicas() -> int:
    """Returns how many replicas the active `tf.distribute` strategy has; 1 without one."""
    return tf.distribute.get_strategy().num_replicas_in_sync if IS_TENSORFLOW else 1


def has_several_workers() -> bool:
    """Whether the active `tf.distribute` strategy is one of several processes."""
    if not IS_TENSORFLOW:
        return False
    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()


def sum_over_replicas(value: Any) -> Any:
    """Returns the sum of a tensor, or of each in a list, over the active strategy's replicas; itself without one."""
    if num_replicas() > 1:
        context = tf.distribute.get_replica_context()
        # None outside of the replicas, where Keras traces a model to learn its shapes.
        return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)
    return value


def shared_evenly(value: Any) -> Any:
    """Returns, on each replica of the active strategy, an equal part of the sum over replicas; gradients stay as is.

    Keras reports a loss as the mean over replicas of their parts, weighted by their rows, times their number: only
    equal parts make that the sum where replicas have different numbers of rows.
    """
    if num_replicas() > 1:
        part = sum_over_replicas(tf.stop_gradient(value)) / num_replicas()
        return value + tf.stop_gradient(part - value)
    return value


def with_mask(tensor: Any, mask: Any) -> Any:
    """Returns a tensor that carries a mask, which Keras's losses and metrics obey: False does not count."""
    # Keras has no public way, and not every backend's tensors take attributes.
    from keras.src.backend.common.masking import set_keras_mask

    masked = ops.copy(tensor)
    set_keras_mask(masked, mask)
    return masked


def is_float(tensor: Any) -> bool:
    """Whether a tensor holds floating point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def gather(values: Any, indices: Any, gradient: Callable[[Any], Any] | None = None) -> Any:
    """Takes `values` at `indices` along the first axis, in TensorFlow; all indices must be valid.

    Args:
        values: (size, ...).
        indices: integers of any shape.
        gradient: what makes the gradient of `values` from that of the result, when it is simpler than TensorFlow's,
            which must add up what was taken several times.

    Returns:
        (*indices.shape, ...).
    """
    if gradient is None:
        return tf.gather(values, indices)

    @tf.custom_gradient
    def take(values: Any) -> tuple[Any, Callable[[Any], Any]]:
        return tf.gather(values, indices), gradient

    return take(values)


def slice_update(values: Any, start: Any, updates: Any) -> Any:
    """Returns `values` with `updates` in place from `start` on, one index for each axis, as `keras.ops.slice_update`.

    On TensorFlow that has no gradient, copies all of `values`, and is an operation of XLA that TensorFlow Serving does
    not have; in loops this writes into the memory of `values`.
    """
    if not IS_TENSORFLOW:
        return ops.slice_update(values, start, updates)

    def updated(values: Any, updates: Any) -> Any:
        if _in_xla():
            return ops.slice_update(values, start, updates)
        begin, sizes = tf.stack(start), tf.shape(updates)
        return tf.raw_ops.TensorStridedSliceUpdate(
            input=values, begin=begin, end=begin + sizes, strides=tf.ones_like(begin), value=updates
        )

    @tf.custom_gradient
    def update(values: Any, updates: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            taken = tf.slice(upstream, start, tf.shape(updates))
            return updated(upstream, tf.zeros_like(taken)), taken

        return updated(values, updates), gradient

    return update(values, updates)


def outside_graphs(function: Callable[[], Any]) -> Any:
    """Returns what a function that makes variables returns; called while a graph is made, they belong to no graph.

    TensorFlow makes a graph once more whose first form made variables, and sees those of `tf.init_scope`, too; it does
    not see those of another thread.
    """
    if not IS_TENSORFLOW or tf.executing_eagerly():
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def compiled(function: Callable[..., Any], *, jit_compile: bool = False) -> Callable[..., Any]:
    """Returns a function of tensors as one graph, with XLA or without; on other backends than TensorFlow, itself."""
    return tf.function(function, autograph=False, jit_compile=jit_compile) if IS_TENSORFLOW else function


def uniform_draws(shape: Any, seed: Any) -> Any:
    """Draws float32 numbers, uniform in [0, 1): the same for a seed on CPU and GPU; graphs of XLA draw others.

    Args:
        shape: of the result; sizes may be scalar tensors.
        seed: an integer, a number or scalar tensor.
    """
    if IS_TENSORFLOW:
        key = tf.stack([tf.cast(seed, tf.int32), 0])
        return tf.random.stateless_uniform(shape, key, alg="philox")
    return keras.random.uniform(shape, seed=int(seed))


def matmul_transposed(left: Any, right: Any) -> Any:
    """(rows, dim), (columns, dim) -> (rows, columns); no transpose is made of `right` or of its gradient."""
    if IS_TENSORFLOW:
        return tf.matmul(left, right, transpose_b=True)
    return ops.matmul(left, ops.transpose(right))


@contextmanager
def deferred_variables() -> Iterator[Callable[[keras.Model, Callable[[keras.Variable], Any]], None]]:
    """Builds a model without giving its variables values, so that each can be read straight into place.

    Yields:
        A function ``fill(model, initializer_of)``, to be called after the block: it initialises every variable with
        ``initializer_of(variable)`` (``f(shape, dtype)``), or with the variable's own initializer when that is None.

    Keras has deferred initialisation, but no public way to replace the initializers: they are set here and nowhere
    else.
    """
    from keras.src.backend.common import global_state

    waiting = global_state.get_global_attribute("uninitialized_variables")
    global_state.set_global_attribute("uninitialized_variables", [])

    def fill(model: keras.Model, initializer_of: Callable[[keras.Variable], Any]) -> None:
        for variable in model.variables:
            initializer = initializer_of(variable)
            if initializer is not None:
                variable._initializer = initializer
            variable._deferred_initialize()

    try:
        scope = keras.StatelessScope(initialize_variables=False)
        with scope:
            yield fill
    finally:
        # Left in the list, they would be initialised a second time at the end of the next such scope.
        global_state.set_global_attribute("uninitialized_variables", waiting)


def replace_weight(layer: keras.layers.Layer, weight: keras.Variable, value: Any) -> keras.Variable:
    """Puts a new variable, of whatever shape, in the place of one that a built layer has.

    It has the old one's name, path, dtype and place among the layer's weights. A new variable rather than a new value:
    an optimizer or a graph made for the old one must not take it for the same.

    Keras locks built layers and has no public way to open them: this is done here and nowhere else.

    Args:
        layer: the layer that created `weight`.
        weight: the variable to replace; it is let go.
        value: tensor of the new variable.

    Returns:
        The new variable.
    """
    attribute = next(name for name, held in vars(layer).items() if held is weight)
    with _place_of(weight):
        new = keras.Variable(
            lambda shape, dtype: ops.cast(value, dtype),
            shape=tuple(value.shape),
            dtype=weight.dtype,
            trainable=weight.trainable,
            autocast=weight._autocast,
            aggregation=weight.aggregation,
            name=weight.name,
        )
    new._path = weight.path
    new.regularizer, new.constraint = weight.regularizer, weight.constraint
    for store, (_, stored) in layer._tracker.config.items():
        if layer._tracker.is_in_store(store, weight):
            # By identity: comparing variables compares their values.
            stored[next(index for index, held in enumerate(stored) if held is weight)] = new
            layer._tracker.stored_ids[store] ^= {id(weight), id(new)}
    setattr(layer, attribute, new)
    return new


def _place_of(weight: keras.Variable) -> AbstractContextManager[Any]:
    """Returns the scope in which a variable is where `weight` is: on its device, or on all of its strategy."""
    if not IS_TENSORFLOW:
        return nullcontext()
    # Only variables of a strategy have one.
    strategy = getattr(weight.value, "distribute_strategy", None)
    return tf.device(weight.value.device) if strategy is None else strategy.scope()


def forget_compilation(model: keras.Model) -> None:
    """Makes a compiled model one that was not: its optimizer and graphs, which hold its variables, are let go.

    Keras has no public way back.
    """
    model.train_function = model.test_function = model.predict_function = None
    if model.compiled:
        # Deleted rather than None: TensorFlow keeps what an attribute held before it was None.
        del model.optimizer, model._compile_config
        model.compiled = False


def device_scope(device: str | None) -> AbstractContextManager[Any]:
    """Returns the scope in which variables are put on a device, such as "cpu:0" or "gpu:1"; None leaves the choice.

    Raises:
        ArgumentError: when there is no such device.
    """
    if device is None:
        return nullcontext()
    known = list(dict.fromkeys(keras.distribution.list_devices("cpu") + keras.distribution.list_devices()))
    if device not in known:
        # TensorFlow itself would quietly take another one.
        raise ArgumentError(f"There is no device {device!r} here. There are: {', '.join(known)}.")
    return keras.device(device)


# What TensorFlow wants tensors to be aligned to, in bytes: with others its matrix products end the process.
ALIGNMENT = 64


def tensor_over(array: np.ndarray) -> Any:
    """Makes a backend tensor of an aligned, writable array: in TensorFlow of its memory, which must not change then.

    `tf.convert_to_tensor` copies twice (once to be safe, once to align), and copying is all that loading does.
    """
    if not IS_TENSORFLOW:
        return ops.convert_to_tensor(array)
    with tf.device("CPU:0"):
        # DLPack knows no bfloat16 from numpy: its bits go over as integers.
        is_bfloat16 = array.dtype.name == "bfloat16"
        tensor = tf.experimental.dlpack.from_dlpack((array.view(np.uint16) if is_bfloat16 else array).__dlpack__())
        return tf.bitcast(tensor, tf.bfloat16) if is_bfloat16 else tensor
