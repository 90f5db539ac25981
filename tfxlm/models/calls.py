"""The call contract of all models: arguments by position, by keyword, or together in a dict, list or tuple."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import backend, ops

from tfxlm.errors import InputError

# What these arguments hold is an id or a count, so it must be an integer.
INTEGER_ARGUMENTS = frozenset({"input_ids", "langs", "token_type_ids", "position_ids", "lengths", "masked_positions"})
TENSOR_ARGUMENTS = INTEGER_ARGUMENTS | {"attention_mask", "head_mask", "inputs_embeds", "labels"}


def make_signature(positional: Sequence[str], keyword_only: Sequence[str] = ()) -> inspect.Signature:
    """Makes the signature of a model's ``call`` (without self) from the names of its arguments."""
    parameters = [
        inspect.Parameter(name, kind, default=None)
        for names, kind in (
            (positional, inspect.Parameter.POSITIONAL_OR_KEYWORD),
            (keyword_only, inspect.Parameter.KEYWORD_ONLY),
        )
        for name in names
    ]
    return inspect.Signature(parameters)


def gather_arguments(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a call by name: only what was given and is not None, tensors converted.

    The first argument may hold all of them: a dict by name, a list or tuple in order.

    Raises:
        InputError: see `spread_first` and `to_tensor`.
    """
    arguments = spread_first(dict(signature.bind(*args, **kwargs).arguments), tuple(signature.parameters))
    return {name: to_tensor(name, value) for name, value in arguments.items() if value is not None}


def make_call(signature: inspect.Signature) -> Callable[..., Any]:
    """Makes the ``call`` method of a model class; it hands the arguments to the model's ``forward(**arguments)``."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.forward(**gather_arguments(signature, args, kwargs))

    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # Keras reads the signature to find out what a model takes.
    call.__signature__ = inspect.Signature([this, *signature.parameters.values()])  # type: ignore[attr-defined]
    call.__doc__ = "Applies the model; see the class for the arguments and outputs."
    return call


def spread_first(arguments: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Takes a dict, list or tuple given as the first argument apart.

    Raises:
        InputError: for a name the model does not take, more values than it takes, or an argument given twice.
    """
    first = arguments.get(names[0])
    if isinstance(first, Mapping):
        inner = dict(first)
    elif isinstance(first, list | tuple):
        if len(first) > len(names):
            raise InputError(f"The model takes {len(names)} inputs ({', '.join(names)}), got {len(first)}.")
        inner = dict(zip(names, first, strict=False))
    else:
        return arguments
    unknown = [str(name) for name in inner if name not in names]
    if unknown:
        raise InputError(
            f"The model does not take {', '.join(map(repr, unknown))}. It takes: {', '.join(names)}. "
            "Remove the others from the batch."
        )
    outer = {name: value for name, value in arguments.items() if name != names[0] and value is not None}
    twice = [name for name in outer if inner.get(name) is not None]
    if twice:
        raise InputError(f"Given twice, in the first argument and by name: {', '.join(twice)}.")
    return inner | outer


def to_tensor(name: str, value: Any) -> Any:
    """Converts a call argument to a tensor; integers of any width become int32.

    Raises:
        InputError: when an argument that holds ids is not of an integer type.
    """
    if name not in TENSOR_ARGUMENTS:
        return value
    if isinstance(value, list | tuple):
        value = np.asarray(value)
    tensor = ops.convert_to_tensor(value)
    dtype = backend.standardize_dtype(tensor.dtype)
    if name in INTEGER_ARGUMENTS:
        if "int" not in dtype:
            raise InputError(f"{name} must be integers, got {dtype} of shape {tuple(tensor.shape)}.")
        return ops.cast(tensor, "int32")
    return tensor


def check_grid(inputs: dict[str, Any], max_length: int, dim: int) -> None:
    """Checks that the inputs are there and lie on one (batch, length) grid, as far as shapes are known.

    Args:
        inputs: tensors by name, None for those that were not given.
        max_length: the longest sequence the model takes.
        dim: width of `inputs_embeds`.

    Raises:
        InputError: naming the input, its shape and the expected one.
    """
    ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
    if (ids is None) == (embeds is None):
        raise InputError("Give input_ids or inputs_embeds" + (", not both." if ids is not None else "."))
    name, rank = ("input_ids", 2) if embeds is None else ("inputs_embeds", 3)
    words: Any = inputs[name]
    if len(words.shape) != rank or (rank == 3 and words.shape[-1] not in (None, dim)):
        expected = "(batch, length)" if rank == 2 else f"(batch, length, {dim})"
        raise InputError(f"{name} must have shape {expected}, got {tuple(words.shape)}.")
    batch, length = words.shape[:2]
    if length is not None and length > max_length:
        raise InputError(
            f"A sequence of {length} tokens is longer than max_position_embeddings = {max_length}. "
            f"Truncate it: tokenizer(..., truncation=True, max_length={max_length})."
        )
    grids = dict.fromkeys(("attention_mask", "langs", "token_type_ids", "position_ids"), (batch, length))
    for other, expected_shape in {**grids, "lengths": (batch,)}.items():
        value = inputs.get(other)
        if value is None:
            continue
        shape = tuple(value.shape)
        fits = len(shape) == len(expected_shape) and all(
            a is None or b is None or a == b for a, b in zip(shape, expected_shape, strict=True)
        )
        if not fits:
            raise InputError(f"{other} must have shape {expected_shape}, as {name} has, got {shape}.")


def check_head_mask(head_mask: Any, num_layers: int, num_heads: int) -> None:
    """Checks the shape of `head_mask`, which may be None.

    Raises:
        InputError: when it is not (heads,) or (layers, heads).
    """
    shapes = ((num_heads,), (num_layers, num_heads))
    if head_mask is not None and tuple(head_mask.shape) not in shapes:
        raise InputError(f"head_mask must have shape {shapes[0]} or {shapes[1]}, got {tuple(head_mask.shape)}.")
