"""Keras's layers that LoRA and quantization change, which files and tied layers see as what they are."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from tfxlm.backend import take_rows
from tfxlm.errors import InputError

# What a file calls LoRA weights, beside the numbers of the others.
LORA = ("lora_a", "lora_b")


class _Adaptable(keras.layers.Layer):
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
    """`keras.layers.Dense`, adaptable."""

    adapted: ClassVar[tuple[str, str, str]] = ("_kernel", "lora_kernel_a", "lora_kernel_b")


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
