"""How an exported model is run: in what sizes, and compiled or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfxlm.errors import InputError
from tfxlm.export.inputs import OF_TOKENS, Tensors
from tfxlm.models import TFPreTrainedModel

# What stands in the row that fills an empty batch up: its mask says that all is real, as rows without anything real
# are none that a model knows.
_FILLS = {"attention_mask": 1}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that batches have when they reach the model.

    Args:
        lengths: of rows, ascending; empty for any.
        batches: numbers of rows, ascending; empty for any.
        jit: whether the model is compiled with XLA, once for each size.

    Raises:
        InputError: sizes are no ascending positive integers, or there are none to compile for.
    """

    lengths: Sequence[int] = ()
    batches: Sequence[int] = ()
    jit: bool = False

    def __post_init__(self) -> None:
        for name, sizes in (("length_buckets", self.lengths), ("batch_buckets", self.batches)):
            whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in sizes)
            if not whole or list(sizes) != sorted(set(sizes)):
                raise InputError(f"{name}={tuple(sizes)} should be different sizes, ascending, such as (32, 64, 128).")
        if self.jit and not self.lengths:
            raise InputError(
                "jit=True compiles the model for each length of a batch. Pass length_buckets, such as (32, 64, 128), "
                "so that there are few."
            )


class Runner:
    """Runs a model in the sizes that it is exported for.

    Args:
        model: the model.
        sizes: the sizes.
    """

    def __init__(self, model: TFPreTrainedModel, sizes: Sizes) -> None:
        self.model, self.sizes = model, sizes
        # One function of all signatures that give the model the same arguments.
        self._run = tf.function(self._outputs, jit_compile=sizes.jit or None, autograph=False)

    def padded(self, inputs: Tensors) -> Tensors:
        """Makes rows of ids as long as the bucket, and all that has an entry for each of them."""
        if not self.sizes.lengths:
            return inputs
        missing = _missing(tf.shape(inputs["input_ids"])[-1], self.sizes.lengths, "tokens in a row", "length_buckets")
        return {name: _longer(value, missing) if name in OF_TOKENS else value for name, value in inputs.items()}

    def __call__(self, given: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """Returns the outputs of the model.

        Args:
            given: arguments of its call, with `input_ids` and `attention_mask`; rows are as long as a bucket.
        """
        return self.in_buckets(self._run, given)

    def in_buckets(self, function: Callable[[Tensors], dict[str, Any]], given: Mapping[str, tf.Tensor]) -> Any:
        """Calls a function of the model with as many rows as a bucket; returns what it does for the rows given.

        Args:
            function: from tensors by name to tensors with an axis of rows, which comes first.
            given: tensors by name, with an axis of rows, one of them `input_ids`.
        """
        rows = tf.shape(given["input_ids"])[0]
        inputs = dict(given)
        if self.sizes.batches:
            size = rows + _missing(rows, self.sizes.batches, "rows", "batch_buckets")
            inputs = {name: _more_rows(value, size, _FILLS.get(name, 0)) for name, value in given.items()}
        with self._static():
            outputs = function(inputs)
        if not self.sizes.batches:
            return outputs
        return tf.nest.map_structure(lambda value: value[:rows], outputs)

    def _outputs(self, inputs: Tensors) -> dict[str, Any]:
        return dict(self.model(inputs, training=False, return_dict=True).items())

    @contextmanager
    def _static(self) -> Iterator[None]:
        """Keeps padding where sizes must be known before: XLA cannot leave out what it finds in the inputs."""
        body = self.model.base_model
        before = body.remove_padding
        body.remove_padding = before and not self.sizes.jit
        try:
            yield
        finally:
            body.remove_padding = before


def _missing(size: tf.Tensor, buckets: Sequence[int], what: str, name: str) -> tf.Tensor:
    """Returns how much a size lacks of the next bucket, int32 scalar."""
    message = f"A request has more {what} than the largest of {name}, {buckets[-1]}."
    with tf.control_dependencies([tf.debugging.Assert(size <= buckets[-1], [message], summarize=1)]):
        index = tf.searchsorted(tf.constant(buckets), tf.minimum(size, buckets[-1])[None])[0]
    return tf.gather(tf.constant(buckets), index) - size


def _longer(value: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    return tf.pad(value, [*([0, 0] for _ in value.shape[1:]), [0, missing]])


def _more_rows(value: tf.Tensor, size: tf.Tensor, fill: int) -> tf.Tensor:
    """Copies rows, of which none takes longer than those that were sent; where there is none, one of `fill`."""
    some = tf.pad(value, [[0, 1], *([0, 0] for _ in value.shape[1:])], constant_values=fill)
    return tf.gather(some, tf.range(size) % tf.maximum(tf.shape(value)[0], 1))


def sizes_of(
    model: TFPreTrainedModel,
    length_buckets: Sequence[int] | None,
    batch_buckets: Sequence[int] | None,
    jit: bool | None,
) -> Sizes:
    """Returns the sizes that an export was asked for.

    Raises:
        InputError: they are none, or longer than the model's texts may be.
    """
    sizes = Sizes(tuple(length_buckets or ()), tuple(batch_buckets or ()), bool(jit))
    longest = model.config.max_sequence_length
    if sizes.lengths and sizes.lengths[-1] > longest:
        raise InputError(
            f"The last of length_buckets is {sizes.lengths[-1]}, but the model takes {longest} tokens. Leave out what "
            "is longer."
        )
    return sizes
