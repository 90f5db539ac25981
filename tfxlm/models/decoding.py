"""How models read texts token by token, as `tfxlm.generation` wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import keras
from keras import ops

from tfxlm.backend import slice_update
from tfxlm.generation import Steps
from tfxlm.models.prompts import Prompts


class Reading(Steps, Protocol):
    """`Steps` that can begin.

    Attributes:
        reads_rows: whether rows are read as they stand, padding included, by a model of any kind. Others read the
            tokens alone, and only with causal models.
    """

    reads_rows: bool

    def begin(self, prompts: Prompts, more: Mapping[str, Any]) -> tuple[Any, Any]:
        """Reads the prompts.

        Args:
            prompts: the texts.
            more: further arguments of the model's call, with the axis of the texts first.

        Returns:
            The scores of the next token, (batch, vocab_size), and the state.
        """


class CachedReading:
    """Each token is read once: keys and values of earlier ones are in a cache, which has its full size from the start.

    The state is a dict: `cache`, `places` (rows,), the position id of the first new token, and `langs` (rows,), the
    language of new tokens, for models with languages.

    Args:
        model: a causal model.
        most: the most new tokens.
        first_position: the position id of the first token of a text; the model's own by default.
    """

    reads_rows = False

    def __init__(self, model: Any, most: int, first_position: int | None = None) -> None:
        self.model, self.most = model, most
        self.cache_name = model.backbone_class.cache_name
        self.first_position = model.base_model.first_position if first_position is None else first_position

    def begin(self, prompts: Prompts, more: Mapping[str, Any]) -> tuple[Any, Any]:
        """Reads the prompts; see `Reading`."""
        ids, langs, counts = prompts
        batch, width = ops.shape(ids)
        is_token = ids >= 0
        padding = self.model.config.pad_index
        positions = ops.cumsum(ops.cast(is_token, "int32"), axis=1) - 1 + self.first_position
        state = {
            "cache": self.model.make_cache(batch, width + self.most - 1),
            "places": counts + self.first_position,
            **({} if langs is None else {"langs": langs[:, -1]}),
        }
        logits, cache = self._read(
            {
                "input_ids": ops.where(is_token, ids, padding),
                "attention_mask": is_token,
                "position_ids": ops.where(is_token, positions, self.model.base_model.padding_position),
                "positions_to_keep": ops.broadcast_to(width - 1, (batch, 1)),
                **({} if langs is None else {"langs": langs}),
                **more,
            },
            state["cache"],
        )
        return logits, {**state, "cache": cache}

    def step(self, tokens: Any, count: Any, state: Any) -> tuple[Any, Any]:
        """Reads the next tokens; see `Steps`."""
        ids = tokens[:, None]
        # Texts that have ended are read on with the others, which may have more room.
        last = self.first_position + self.model.config.max_sequence_length - 1
        inputs = {
            "input_ids": ids,
            "attention_mask": ops.ones_like(ids),
            "position_ids": ops.minimum(state["places"] + count - 1, last)[:, None],
            **({"langs": state["langs"][:, None]} if "langs" in state else {}),
        }
        logits, cache = self._read(inputs, state["cache"])
        return logits, {**state, "cache": cache}

    def take(self, state: Any, rows: Any) -> Any:
        """Returns the state of some rows; see `Steps`."""
        others = {name: ops.take(value, rows, axis=0) for name, value in state.items() if name != "cache"}
        return {**others, "cache": state["cache"].take(rows)}

    def _read(self, inputs: Mapping[str, Any], cache: Any) -> tuple[Any, Any]:
        encoded, _ = self.model.encode(
            **inputs, **{self.cache_name: cache}, output_attentions=False, output_hidden_states=False, training=False
        )
        return self.model.token_logits(encoded["last_hidden_state"])[:, 0], encoded[self.cache_name]


class MaskReading:
    """As the generation of XLM in `transformers`: all tokens are read again at each step, with a mask behind them.

    What is predicted there comes next. The first ids that are no padding count as tokens, as many as there are
    anywhere, and all are in the language `config.lang_id`. The state is a dict: `ids` (rows, width + most new tokens).

    Args:
        model: a model, causal or not.
        most: the most new tokens.
    """

    reads_rows = True

    def __init__(self, model: Any, most: int) -> None:
        self.model, self.most, self.config = model, most, model.config

    def begin(self, prompts: Prompts, more: Mapping[str, Any]) -> tuple[Any, Any]:
        """Reads the prompts; see `Reading`."""
        ids = ops.pad(prompts.ids, ((0, 0), (0, self.most)), constant_values=self.config.pad_index)
        return self._logits(ids, 0), {"ids": ids}

    def step(self, tokens: Any, count: Any, state: Any) -> tuple[Any, Any]:
        """Reads the next tokens; see `Steps`."""
        ids = slice_update(state["ids"], (0, ops.shape(state["ids"])[1] - self.most + count - 1), tokens[:, None])
        return self._logits(ids, count), {"ids": ids}

    def take(self, state: Any, rows: Any) -> Any:
        """Returns the state of some rows; see `Steps`."""
        return keras.tree.map_structure(lambda tensor: ops.take(tensor, rows, axis=0), state)

    def _logits(self, ids: Any, count: Any) -> Any:
        rows, width = ops.shape(ids)
        end, columns = width - self.most + count, ops.arange(width)
        ids = ops.where(ops.equal(columns, end), self.config.mask_token_id, ids)
        are_tokens = ops.not_equal(ids, self.config.pad_index) & (columns <= end)
        lang = self.config.lang_id
        encoded, _ = self.model.encode(
            input_ids=ids,
            lengths=ops.sum(ops.cast(are_tokens, "int32"), axis=1),
            langs=None if lang is None else ops.full((rows, width), lang, "int32"),
            positions_to_keep=ops.broadcast_to(end, (rows, 1)),
            training=False,
        )
        return self.model.token_logits(encoded["last_hidden_state"])[:, 0]
