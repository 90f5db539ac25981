"""`generate` of masked models: masks are filled."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from tfxlm.backend import is_concrete
from tfxlm.errors import InputError
from tfxlm.generation import GenerationOptions, checked_option, filled
from tfxlm.models.continuing import Run
from tfxlm.models.prompts import Texts, ends_of, with_new_tokens


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

    def filled(self, model: Any, texts: Texts, options: GenerationOptions, run: Run) -> Any:
        """Returns the texts with their masks filled, int32 (batch, length).

        Args:
            model: a masked model.
            texts: the texts.
            options: those of single tokens, which must be the default ones.
            run: likewise.

        Raises:
            InputError: when they are not; when the model is causal; when it is not known what a mask is, or there are
                none.
        """
        if run.streamer is not None or run.hf_compat or not options.are_greedy:
            raise InputError(
                "mask_predict takes the likeliest of many tokens at a time: leave out the options of sampling, beam "
                "search, penalties, scores, hf_compat and streamer."
            )
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
        checked_option("mask_token_id", mask_id, 0)
        ids, mask, langs = texts.ids, texts.mask, texts.langs
        if self.more is not None:
            ids, mask, langs = self._lengthened(texts, mask_id, options.pad_token_id)
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
