"""Keras's layers that LoRA and quantization change, which files and tied layers see as what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import keras
from keras import ops

from tfxlm.errors import InputError
from tfxlm.layers.layer import Layer
from tfxlm.layers.own_gradients import take_rows

# What a file calls LoRA weights, beside the numbers of the others.
LORA = ("lora_a", "lora_b")

_FILE_LAYOUT = ContextVar("file_layout", default=False)


@contextmanager
def file_layout() -> Iterator[None]:
    """Within it dense layers are built with kernels as PyTorch's files have them, and cannot be adapted or trained."""
    token = _FILE_LAYOUT.set(True)
    try:
        yield
    finally:
        _FILE_LAYOUT.reset(token)


class _Adaptable(Layer):
    """A layer whose LoRA weights files keep, so that training goes on where it was.

    Keras writes the sum of weight and LoRA, and sets LoRA to zero when it reads it back: both factors being zero, no
    gradient ever reaches them again.
    """

    lora_enabled: bool
    # The attributes of weight and LoRA factors.
    adapted: ClassVar[tuple[str, str, str]]

    def save_own_variables(self, store: Any) -> None:
        """Writes the weights, and LoRA's beside them."""
        if not self.lora_enabled:
            super().save_own_variables(store)
            return
        # Without it Keras writes the weight alone.
        self.lora_enabled = False
        try:
            super().save_own_variables(store)
        finally:
            self.lora_enabled = True
        for key, name in zip(LORA, self.adapted[1:], strict=True):
            store[key] = getattr(self, name)
        store["lora_scale"] = self.lora_alpha / self.lora_rank

    def load_own_variables(self, store: Any) -> None:
        """Reads the weights. LoRA's are added to the weight where the layer has none of its own.

        Raises:
            InputError: when it has none, and its weight is quantized.
        """
        keys = list(store.keys())
        super().load_own_variables({key: store[key] for key in keys if not key.startswith("lora_")})
        if LORA[0] not in keys:
            return
        factors = [ops.convert_to_tensor(store[key]) for key in LORA]
        if self.lora_enabled:
            for name, factor in zip(self.adapted[1:], factors, strict=True):
                getattr(self, name).assign(factor)
            return
        if self.quantization_mode is not None:
            raise InputError(
                f"The file has LoRA weights for {self.path}, which is quantized and cannot take them up. Enable LoRA "
                f"before loading: layer.enable_lora({factors[0].shape[1]})."
            )
        weight = getattr(self, self.adapted[0])
        change = ops.matmul(*factors) * ops.convert_to_tensor(store["lora_scale"], "float32")
        weight.assign(weight + ops.cast(change, weight.dtype))

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Quantizes the weight; see the Keras layer, which leaves classes derived from it as they are."""
        super().quantize(mode, type_check=False, config=config)


class Dense(_Adaptable, keras.layers.Dense):
    """`keras.layers.Dense`, adaptable.

    Built within `file_layout` its variable is the transposed kernel (out, in), which can be the memory of a file.

    Args:
        units: width of the output.
        **kwargs: of Keras's layer.
    """

    adapted: ClassVar[tuple[str, str, str]] = ("_kernel", "lora_kernel_a", "lora_kernel_b")
    has_file_layout = False

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Creates the variables."""
        self.has_file_layout = _FILE_LAYOUT.get()
        if not self.has_file_layout:
            super().build(input_shape)
            return
        dim = input_shape[-1]
        self._kernel = self.add_weight(
            name="kernel", shape=(self.units, dim), initializer=self.kernel_initializer, trainable=False
        )
        bias = {"name": "bias", "shape": (self.units,), "initializer": self.bias_initializer, "trainable": False}
        self.bias = self.add_weight(**bias) if self.use_bias else None
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: dim})
        self.built = True

    @property
    def kernel(self) -> Any:
        """The kernel (in, out): the variable, or what layout, LoRA and quantization make of it."""
        return ops.transpose(self._kernel) if self.has_file_layout else super().kernel

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer: (..., in) -> (..., out)."""
        if not self.has_file_layout:
            return super().call(inputs, training=training)
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
        # The kernel on the left: on the right it would be repacked in every call, which for some rows costs several
        # times the product, and nowhere is it slower.
        x = ops.transpose(ops.matmul(self._kernel, ops.transpose(rows)))
        x = ops.reshape(x, (*ops.shape(inputs)[:-1], self.units))
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def enable_lora(self, rank: int, *args: Any, **kwargs: Any) -> None:
        """Adds LoRA weights; see `keras.layers.Dense.enable_lora`.

        Raises:
            InputError: when the kernel has the layout of a file.
        """
        self._check_own_layout("get LoRA weights")
        super().enable_lora(rank, *args, **kwargs)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Quantizes the kernel.

        Raises:
            InputError: when it has the layout of a file.
        """
        self._check_own_layout("be quantized")
        super().quantize(mode, type_check=type_check, config=config)

    def save_own_variables(self, store: Any) -> None:
        """Writes the weights, with the kernel (in, out) whatever its layout is."""
        if not self.has_file_layout:
            super().save_own_variables(store)
            return
        for index, value in enumerate([self.kernel, *self.weights[1:]]):
            store[str(index)] = value

    def load_own_variables(self, store: Any) -> None:
        """Reads the weights, with the kernel (in, out) whatever its layout is.

        Raises:
            InputError: when the layout is that of a file, which is not written to.
        """
        self._check_own_layout("take other weights")
        super().load_own_variables(store)

    def _check_own_layout(self, what: str) -> None:
        if self.has_file_layout:
            raise InputError(
                f"{self.path} cannot {what}: its kernel is the memory of a file. Load the model without "
                "memory_map=True."
            )


class Embedding(_Adaptable, keras.layers.Embedding):
    """`keras.layers.Embedding`, adaptable, with a dense gradient (see `take_rows`)."""

    adapted: ClassVar[tuple[str, str, str]] = ("_embeddings", "lora_embeddings_a", "lora_embeddings_b")

    @property
    def embeddings(self) -> Any:
        """The table (input_dim, output_dim): the variable, or what LoRA and quantization make of it."""
        if self.quantization_mode is None:
            return super().embeddings
        return self(ops.arange(self.input_dim))

    def call(self, inputs: Any) -> Any:
        """Looks up rows: integers (...) -> (..., output_dim)."""
        rows = take_rows(self._embeddings, inputs)
        if self.lora_enabled:
            factor = take_rows(self.lora_embeddings_a, inputs)
            rows = rows + self.lora_alpha / self.lora_rank * ops.matmul(factor, self.lora_embeddings_b)
        return ops.cast(rows, self.compute_dtype)
