"""A model in another dtype, for exports: the model in hand stays as it is."""

from __future__ import annotations

from typing import Any

import keras

from tfxlm import backend
from tfxlm.errors import InputError
from tfxlm.models import TFPreTrainedModel

DTYPES = ("float32", "bfloat16", "float16")


def in_dtype(model: TFPreTrainedModel, dtype: str | None) -> TFPreTrainedModel:
    """Returns a model of the same class with the same weights, variables and computation in a dtype.

    Memory holds one copy more, in the new dtype: each variable is read from the one that it comes from.

    Args:
        model: the model, which stays as it is.
        dtype: one of `DTYPES`; None for the model itself.

    Raises:
        InputError: it is none of them, or layers of the model are quantized, have LoRA weights, or are the memory of
            files.
    """
    if dtype is None or dtype == model.dtype_policy.name:
        return model
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r} is not a dtype of exports. Choose one of {', '.join(DTYPES)}, or None.")
    _check_plain(model, dtype)
    with backend.deferred_variables() as fill:
        copy = type(model)(model.config, dtype=dtype, name=model.name, **model.options)
    sources = dict(zip(map(id, copy.variables), model.variables, strict=True))

    def initializer_of(variable: keras.Variable) -> Any:
        source = sources[id(variable)]
        return lambda shape, dtype: keras.ops.cast(source.value, dtype)

    fill(copy, initializer_of)
    return copy


def _check_plain(model: TFPreTrainedModel, dtype: str) -> None:
    for layer in model._flatten_layers():
        for is_so, what in (
            (layer.quantization_mode is not None, "is quantized"),
            (getattr(layer, "lora_enabled", False), "has LoRA weights"),
        ):
            if is_so:
                raise InputError(
                    f"{layer.path} {what}, so the model cannot be exported with dtype={dtype!r}. Leave dtype out, or "
                    "save the model with save_pretrained and load it anew."
                )
    if model.is_memory_mapped:
        raise InputError(
            f"This {type(model).__name__} is a memory map of its checkpoint, so it cannot be exported with "
            f"dtype={dtype!r}. Load it without memory_map=True."
        )
