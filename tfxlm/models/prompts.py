"""The texts that generation goes on from: where their tokens are, in which languages, and where new ones go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras import ops

from tfxlm.errors import ArgumentError, InputError, LanguageError
from tfxlm.heads.labels import fits
from tfxlm.layers import padding_mask
from tfxlm.models.calls import check_grid, merge, to_tensor

_INPUTS = ("input_ids", "attention_mask", "langs", "lengths", "encoder_hidden_states", "encoder_attention_mask")


class Texts(NamedTuple):
    """Texts as they are given.

    Args:
        ids: int32 (batch, length).
        mask: boolean (batch, length), True at tokens.
        langs: int32 (batch, length), or None.
        more: further arguments of the model's call, with the axis of the texts first.
    """

    ids: Any
    mask: Any
    langs: Any
    more: dict[str, Any]


def texts_of(model: Any, given: Mapping[str, Any]) -> Texts:
    """Reads the inputs of a language model.

    Args:
        model: the model.
        given: its inputs by name, None for those that were not given; the ids may be a dict of inputs.

    Raises:
        ArgumentError: when the model does not take one of them, or one is given twice.
        InputError: when they do not fit together, or `langs` have another shape.
        LanguageError: when a language is unknown.
    """
    ids = given["input_ids"]
    if isinstance(ids, Mapping):
        given = merge(ids, {name: value for name, value in given.items() if name != "input_ids"}, "in the inputs")
    inputs = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in inputs if name not in _INPUTS or name not in model.signature.parameters]
    if unknown:
        known = ", ".join(name for name in _INPUTS if name in model.signature.parameters)
        raise ArgumentError(
            f"{type(model).__name__} does not generate from {', '.join(unknown)}. Its inputs are: {known}. Remove the "
            "others from the call or batch."
        )
    langs = inputs.pop("langs", None)
    inputs = {name: to_tensor(name, value) for name, value in inputs.items()}
    check_grid(inputs, model.config)
    ids = inputs.pop("input_ids")
    mask = padding_mask(
        *ops.shape(ids),
        attention_mask=inputs.pop("attention_mask", None),
        lengths=inputs.pop("lengths", None),
        input_ids=ids,
        pad_token_id=model.base_model.padding_id,
    )
    return Texts(ids, mask, langs_of_prompts(langs, ids, model.config), inputs)


class Prompts(NamedTuple):
    """Texts whose tokens stand at the end of their rows, whatever was between or behind them.

    Args:
        ids: int32 (batch, width); -1 before the tokens.
        langs: int32 (batch, width), or None.
        counts: int32 (batch,), how many tokens there are.
    """

    ids: Any
    langs: Any
    counts: Any

    def of_width(self, width: int) -> Prompts:
        """Returns the same texts in rows of another width, which must hold them."""
        more = width - self.ids.shape[1]

        def changed(grid: Any, filler: int) -> Any:
            if grid is None:
                return None
            return grid[:, -more:] if more <= 0 else ops.pad(grid, ((0, 0), (more, 0)), constant_values=filler)

        return self if more == 0 else Prompts(changed(self.ids, -1), changed(self.langs, 0), self.counts)


def prompts_of(texts: Texts) -> Prompts:
    """Moves the tokens of each text to the end of its row."""
    ids, mask, langs, _ = texts
    length = ops.shape(ids)[1]
    columns = ops.arange(length)
    # All others first; both in their order.
    order = ops.argsort(ops.where(mask, columns + length, columns), axis=1)
    counts = ops.sum(ops.cast(mask, "int32"), axis=1)
    are_tokens = columns >= length - counts[:, None]
    moved = ops.where(are_tokens, ops.take_along_axis(ids, order, axis=1), -1)
    return Prompts(moved, None if langs is None else ops.take_along_axis(langs, order, axis=1), counts)


def with_new_tokens(ids: Any, mask: Any, tokens: Any, padding: int) -> Any:
    """Puts new tokens behind the last token of each text.

    Args:
        ids: int32 (batch, length).
        mask: boolean (batch, length), True at tokens.
        tokens: int32 (texts, new): as many texts for each row of `ids` as there are more of them.
        padding: the id behind them.

    Returns:
        int32 (texts, length + new).
    """
    texts, new = ops.shape(tokens)
    rows, length = ops.shape(ids)
    copies = ops.arange(texts) // (texts // rows)
    ends = ops.take(ends_of(mask), copies, axis=0)[:, None]
    columns = ops.arange(length + new)
    own = ops.take(ops.pad(ids, ((0, 0), (0, new))), copies, axis=0)
    places = columns - ends
    behind = ops.where(places < new, ops.take_along_axis(tokens, ops.clip(places, 0, new - 1), axis=1), padding)
    return ops.where(places < 0, own, behind)


def ends_of(mask: Any) -> Any:
    """Returns the column behind the last token of each row, int32 (batch,)."""
    return ops.max(ops.where(mask, ops.arange(1, ops.shape(mask)[1] + 1), 0), axis=1)


def langs_of_prompts(langs: Any, ids: Any, config: Any) -> Any:
    """Returns the language ids of all tokens, int32 (batch, length); None for a model that knows no languages.

    Args:
        langs: a language code or id for all texts; codes or ids (batch,) for each; ids (batch, length) for each token;
            or None.
        ids: int32 (batch, length).
        config: of the model.

    Raises:
        InputError: `langs` have another shape.
        LanguageError: a language is unknown.
    """
    if langs is None or not config.uses_lang_embeddings:
        return None
    if isinstance(langs, str):
        langs = _id_of(langs, config)
    elif isinstance(langs, Sequence) and any(isinstance(lang, str) for lang in langs):
        langs = [_id_of(lang, config) for lang in langs]
    langs = to_tensor("langs", langs)
    if len(langs.shape) == 1:
        langs = langs[:, None]
    shape, expected = tuple(langs.shape), tuple(ids.shape)
    if shape != () and not fits(shape, expected) and not fits(shape, (expected[0], 1)):
        raise InputError(
            f"langs must be one language for all texts, one for each of the {expected[0]} rows, or ids of shape "
            f"{expected}, as input_ids have, got shape {shape}."
        )
    return ops.broadcast_to(langs, ops.shape(ids))


def _id_of(lang: Any, config: Any) -> int:
    if lang not in config.lang2id:
        known = ", ".join(config.lang2id) or "none: its configuration has no lang2id, so give ids"
        raise LanguageError(f"The language {lang!r} is unknown. The model's languages are {known}.")
    return config.lang2id[lang]
