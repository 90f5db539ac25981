"""The call contract of all models: arguments by position, by keyword, or together in a dict, list or tuple."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfxlm.backend import how_to_densify, to_int32
from tfxlm.errors import ArgumentError, InputError
from tfxlm.heads.labels import fits

# Whether a dtype is of a kind, by what messages call the kind.
KINDS: Mapping[str, Callable[[str], bool]] = {
    "integers": keras.backend.is_int_dtype,
    "floating point numbers": keras.backend.is_float_dtype,
    "numbers": lambda dtype: dtype != "string",
}

# The kind of each argument that is a tensor.
TENSOR_ARGUMENTS: Mapping[str, str] = {
    # Ids and counts.
    **dict.fromkeys(
        (
            *("input_ids", "langs", "token_type_ids", "position_ids", "lengths", "masked_positions"),
            *("start_positions", "end_positions", "cls_index", "cache_position"),
        ),
        "integers",
    ),
    **dict.fromkeys(("inputs_embeds", "encoder_hidden_states"), "floating point numbers"),
    **dict.fromkeys(
        ("attention_mask", "encoder_attention_mask", "head_mask", "labels", "is_impossible", "p_mask", "causal"),
        "numbers",
    ),
}


# The arguments that are True or False.
FLAGS = ("use_cache", "output_attentions", "output_hidden_states", "return_dict", "training")


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


def gather_arguments(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], rank: int = 2
) -> dict[str, Any]:
    """Returns the arguments of a call by name: only what was given and is not None, tensors converted.

    The first argument may hold all of them: a dict by name, a list or tuple in order. Numbers in lists that are nested
    up to `rank` deep, the axes of the ids, are the first argument itself.

    Raises:
        ArgumentError: see `bind` and `spread_first`.
        InputError: see `flag` and `to_tensor`.
    """
    arguments = spread_first(signature, bind(signature, args, kwargs), rank)
    given = {name: value for name, value in arguments.items() if value is not None}
    return {name: flag(name, value) if name in FLAGS else to_tensor(name, value) for name, value in given.items()}


def flag(name: str, value: Any) -> bool:
    """Returns an argument that is True or False.

    Raises:
        InputError: when it is anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {value!r:.80}.")
    return bool(value)


def make_call(signature: inspect.Signature) -> Callable[..., Any]:
    """Makes the ``call`` method of a model class; it hands the arguments to the model's ``forward(**arguments)``."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.forward(**gather_arguments(signature, args, kwargs, len(self.text_axes)))

    # Keras reads the signature to find out what a model takes.
    call.__signature__ = _of_method(signature)  # type: ignore[attr-defined]
    call.__doc__ = "Applies the model; see the class for the arguments and outputs."
    return call


def signed(method: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    """Returns a method that takes any arguments as one that says which it takes, for editors and `help`."""

    @functools.wraps(method)
    def signed_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **kwargs)

    signed_method.__signature__ = _of_method(signature)  # type: ignore[attr-defined]
    return signed_method


def _of_method(signature: inspect.Signature) -> inspect.Signature:
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature([this, *signature.parameters.values()])


def bind(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments by name, without those that are None.

    Raises:
        ArgumentError: for a name the model does not take, more values than it takes, or an argument given twice.
    """
    names = tuple(signature.parameters)
    positional = [name for name, it in signature.parameters.items() if it.kind is it.POSITIONAL_OR_KEYWORD]
    if len(args) > len(positional):
        raise ArgumentError(
            f"The model takes {len(positional)} inputs by position ({', '.join(positional)}), got {len(args)}."
        )
    unknown = [str(name) for name in kwargs if name not in names]
    if unknown:
        raise ArgumentError(
            f"The model does not take {', '.join(map(repr, unknown))}. It takes: {', '.join(names)}. "
            "Remove the others from the call or batch."
        )
    return merge(dict(zip(positional, args, strict=False)), kwargs, "by position")


def merge(first: Mapping[str, Any], second: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the arguments of both that are not None.

    Raises:
        ArgumentError: when one is given in both; `where` says what the first are.
    """
    left, right = ({name: value for name, value in given.items() if value is not None} for given in (first, second))
    twice = [name for name in left if name in right]
    if twice:
        raise ArgumentError(f"Given twice, {where} and by name: {', '.join(twice)}. Give each once.")
    return left | right


def spread_first(signature: inspect.Signature, arguments: dict[str, Any], rank: int = 2) -> dict[str, Any]:
    """Takes a dict, list or tuple given as the first argument apart; numbers nested up to `rank` are a tensor and stay.

    Raises:
        ArgumentError: as `bind`.
    """
    main = next(iter(signature.parameters))
    first = arguments.get(main)
    if isinstance(first, Mapping):
        inner = bind(signature, (), first)
    elif isinstance(first, list | tuple) and not _is_numbers(first, depth=rank):
        inner = bind(signature, first, {})
    else:
        return arguments
    outer = {name: value for name, value in arguments.items() if name != main}
    return merge(inner, outer, "in the first argument")


def _is_numbers(value: Any, depth: int) -> bool:
    """Whether lists or tuples, nested up to `depth`, begin with a number."""
    while depth and isinstance(value, list | tuple) and value:
        value, depth = value[0], depth - 1
    return isinstance(value, numbers.Number | np.generic)


def to_tensor(name: str, value: Any) -> Any:
    """Converts a call argument to a tensor.

    Integers of any width become int32, and those that do not fit the nearest number that does: they are out of range.

    Raises:
        InputError: when the argument is not a dense tensor of its kind.
    """
    if name not in TENSOR_ARGUMENTS:
        return value
    kind = TENSOR_ARGUMENTS[name]
    way = how_to_densify(value)
    if way is not None:
        raise InputError(f"{name} must be a dense tensor, got a {type(value).__name__}. Make one with {way}.")
    if isinstance(value, list | tuple):
        value = _to_array(name, kind, value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        raise InputError(f"{name} must be {kind}, got {value.dtype.name} of shape {value.shape}.")
    try:
        tensor = ops.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be {kind} in a tensor, array or list, got {type(value).__name__}.") from error
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if not KINDS[kind](dtype):
        raise InputError(f"{name} must be {kind}, got {dtype} of shape {tuple(tensor.shape)}.")
    return to_int32(tensor) if keras.backend.is_int_dtype(dtype) and "attention_mask" not in name else tensor


def _to_array(name: str, kind: str, value: Sequence[Any]) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"{name} must be {kind} in rows of one length: {error} Pad them: tokenizer(..., padding=True)."
        ) from error


def words_of(arguments: Mapping[str, Any]) -> Any:
    """Returns the ids or the embeddings among the arguments of a call; None where it has neither."""
    return arguments.get("input_ids", arguments.get("inputs_embeds"))


def check_grid(inputs: dict[str, Any], config: Any) -> None:
    """Checks that the inputs are there and lie on one (batch, length) grid, as far as shapes are known.

    Args:
        inputs: tensors by name, None for those that were not given.
        config: of the model.

    Raises:
        InputError: naming the input, its shape and the expected one.
    """
    ids, embeds, dim = inputs.get("input_ids"), inputs.get("inputs_embeds"), config.hidden_size
    if (ids is None) == (embeds is None):
        raise InputError("Give input_ids or inputs_embeds" + (", not both." if ids is not None else "."))
    name, rank = ("input_ids", 2) if embeds is None else ("inputs_embeds", 3)
    words: Any = inputs[name]
    if len(words.shape) != rank or (rank == 3 and words.shape[-1] not in (None, dim)):
        expected = "(batch, length)" if rank == 2 else f"(batch, length, {dim})"
        raise InputError(f"{name} must have shape {expected}, got {tuple(words.shape)}.")
    batch, length = words.shape[:2]
    if length == 0:
        raise InputError(f"{name} must have a length of at least 1, got shape {tuple(words.shape)}.")
    # Default positions are below this; which ones they are, and given ones, is checked when they are looked up.
    positions, longest = config.max_position_embeddings, config.max_sequence_length
    if inputs.get("position_ids") is None and length is not None and length > positions:
        raise InputError(
            f"A sequence of {length} tokens is longer than max_position_embeddings = {positions}. "
            f"Truncate it: tokenizer(..., truncation=True, max_length={longest})."
        )
    grids = dict.fromkeys(("attention_mask", "langs", "token_type_ids", "position_ids"), (batch, length))
    for other, expected_shape in {**grids, "lengths": (batch,), "causal": (batch,)}.items():
        value = inputs.get(other)
        if value is None:
            continue
        if not fits(tuple(value.shape), expected_shape):
            raise InputError(f"{other} must have shape {expected_shape}, as {name} has, got {tuple(value.shape)}.")


def check_head_mask(head_mask: Any, num_layers: int, num_heads: int, is_pruned: bool = False) -> None:
    """Checks the shape of `head_mask`, which may be None.

    Raises:
        InputError: when it is not (heads,) or (layers, heads), or the layers of a pruned model differ in heads.
    """
    if head_mask is not None and is_pruned:
        raise InputError(
            "A model with pruned_heads takes no head_mask: its layers have different heads. Leave head_mask out."
        )
    shapes = ((num_heads,), (num_layers, num_heads))
    if head_mask is not None and tuple(head_mask.shape) not in shapes:
        raise InputError(f"head_mask must have shape {shapes[0]} or {shapes[1]}, got {tuple(head_mask.shape)}.")
