"""`generate` of masked models: masks are filled."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from tfxlm.backend import is_concrete
from tfxlm.errors import InputError
from tfxlm.generation import checked_option, filled, token_id
from tfxlm.models.prompts import Texts, ends_of, with_new_tokens

# What filling of masks heeds of the arguments of `generate`, beside texts.
_TEXTS = ("self", "input_ids", "attention_mask", "langs", "lengths")
_HEEDED = ("mask_predict", "max_new_tokens", "mask_token_id", "pad_token_id", "return_dict_in_generate")
# What changes nothing while another argument has its default.
_NEEDS = {"mask_token_id": "mask_predict", "output_scores": "return_dict_in_generate"}


@dataclasses.dataclass(frozen=True)
class MaskPredict:
    """How masks are filled.

    Args:
        rounds: how many there are.
        more: how many masks are put behind each text; None for none.
        mask_token_id: the id of a mask; None for the configuration's.

    Raises:
        InputError: a number is wrong.
    """

    rounds: int
    more: int | None = None
    mask_token_id: int | None = None

    def __post_init__(self) -> None:
        checked_option("mask_predict", self.rounds, 1)
        if self.more is not None:
            checked_option("max_new_tokens", self.more, 1)

    def filled(self, model: Any, texts: Texts, padding: int) -> Any:
        """Returns the texts with their masks filled, int32 (batch, length).

        Args:
            model: a masked model.
            texts: the texts.
            padding: the id of padding.

        Raises:
            InputError: when the model is causal; when it is not known what a mask is, or there are none.
        """
        config = model.config
        if config.is_causal:
            raise InputError(
                f"This {type(model).__name__} is causal, so a mask does not see what is behind it. Leave mask_predict "
                "out, to go on from texts."
            )
        mask_id = getattr(config, "mask_index", None) if self.mask_token_id is None else self.mask_token_id
        if mask_id is None:
            raise InputError(
                "The configuration does not say which id is the mask. Give mask_token_id=tokenizer.mask_token_id."
            )
        mask_id = token_id("mask_token_id", mask_id, config.vocab_size)
        ids, mask, langs, more = texts
        if more:
            raise InputError(f"mask_predict does not heed {', '.join(more)}. Leave that out.")
        if self.more is not None:
            ids, mask, langs = self._lengthened(texts, mask_id, padding)
        are_masks = mask & ops.equal(ids, mask_id)
        counts = ops.sum(ops.cast(are_masks, "int32"), axis=1)
        if is_concrete(counts) and not int(ops.max(counts)):
            raise InputError(
                f"There is no mask token (id {mask_id}) in the texts. Put some in, or give max_new_tokens for as many "
                "behind each text."
            )
        most, columns = ops.max(counts), ops.arange(ops.shape(ids)[1])
        # The columns of the masks, then others.
        places = ops.argsort(ops.where(are_masks, columns, columns + ops.shape(ids)[1]), axis=1)
        places = ops.cast(places[:, : int(most) if is_concrete(most) else most], "int32")
        numbers = ops.maximum(ops.cumsum(ops.cast(are_masks, "int32"), axis=1) - 1, 0)
        body = model.base_model
        # Counted over tokens, so that padding changes nothing, on whichever side it is.
        counted = ops.cumsum(ops.cast(mask, "int32"), axis=1) - 1 + body.first_position
        positions = ops.where(mask, counted, body.padding_position)

        def with_tokens(tokens: Any) -> Any:
            return ops.where(are_masks, ops.take_along_axis(tokens, numbers, axis=1), ids)

        def predict(tokens: Any) -> Any:
            encoded, _ = model.encode(
                input_ids=with_tokens(tokens),
                attention_mask=mask,
                position_ids=positions,
                positions_to_keep=places,
                output_attentions=False,
                output_hidden_states=False,
                training=False,
                **({} if langs is None else {"langs": langs}),
            )
            return model.token_logits(encoded["last_hidden_state"])

        tokens = filled(
            ops.arange(ops.shape(places)[1]) < counts[:, None],
            predict,
            mask_token_id=mask_id,
            iterations=self.rounds,
            forbidden=(mask_id, config.pad_index),
        )
        return with_tokens(tokens)

    def _lengthened(self, texts: Texts, mask_id: int, padding: int) -> tuple[Any, Any, Any]:
        """Puts masks behind the texts; returns ids, which are tokens, and languages."""
        ids, mask, langs = texts.ids, texts.mask, texts.langs
        batch, new = ops.shape(ids)[0], self.more

        def longer(grid: Any, added: Any, filler: Any) -> Any:
            return with_new_tokens(grid, mask, ops.broadcast_to(added, (batch, new)), filler)

        if langs is not None:
            last = ops.maximum(ends_of(mask) - 1, 0)[:, None]
            langs = longer(langs, ops.take_along_axis(langs, last, axis=1), 0)
        are_tokens = ops.not_equal(longer(ops.cast(mask, "int32"), 1, 0), 0)
        return longer(ids, mask_id, padding), are_tokens, langs


def check_heeded(generate: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuses arguments of `generate` that would change nothing.

    Args:
        generate: the method.
        arguments: all that it was called with, by name.

    Raises:
        InputError: filling of masks does not heed one, or one needs another.
    """
    parameters = inspect.signature(generate).parameters
    given = {name for name, value in arguments.items() if _is_other(value, parameters[name].default)}
    unheeded = [name for name in parameters if name in given - {*_TEXTS, *_HEEDED}]
    if "mask_predict" in given and unheeded:
        raise InputError(
            f"mask_predict takes the likeliest of many tokens at a time, and does not heed {', '.join(unheeded)}: "
            f"leave that out. Beside texts it heeds {', '.join(_HEEDED[1:])}."
        )
    for name, needed in _NEEDS.items():
        if name in given and needed not in given:
            raise InputError(f"{name} changes nothing without {needed}. Give {needed}, or leave {name} out.")


def _is_other(value: Any, default: Any) -> bool:
    return value is not default and (default is None or bool(np.any(value != default)))
