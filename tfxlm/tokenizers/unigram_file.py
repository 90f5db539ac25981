"""SentencePiece models of the unigram kind in the format of the `tokenizers` library, ``tokenizer.json``."""

import base64
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tfxlm import files
from tfxlm.errors import CorruptFileError, TokenizerError
from tfxlm.tokenizers.arguments import kind
from tfxlm.tokenizers.piece_ids import PieceIds
from tfxlm.tokenizers.rules.templates import FIRST_TEXT, SECOND_TEXT, Template
from tfxlm.tokenizers.sentence_pieces import SPACE
from tfxlm.tokenizers.special_tokens import SpecialTokens

NAME = "tokenizer.json"

_TEXTS = {FIRST_TEXT: "A", SECOND_TEXT: "B"}
#: What SentencePiece does to white space: none is left at the end, and one of several.
_SPACES: tuple[Mapping[str, Any], ...] = (
    {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE},
)
_METASPACE: Mapping[str, Any] = {
    "type": "Metaspace",
    "replacement": SPACE,
    "prepend_scheme": "always",
    "split": True,
}
_LARGEST_SCORE = 3e38  # of a number of 32 bits


class _UnfitError(Exception):
    """What a file says that a model cannot say, in a sentence."""


def read(
    path: str | os.PathLike[str], layout: PieceIds, template: Template, roles: Mapping[str, str]
) -> tuple[bytes, dict[int, Any]]:
    """Reads ``tokenizer.json`` as the SentencePiece model that it was made of.

    Args:
        path: the file.
        layout: which ids the pieces have.
        template: how special tokens frame the input.
        roles: the tokens in it by role.

    Returns:
        The content of the model's file, and the added tokens by id.

    Raises:
        CheckpointNotFoundError: there is no such file.
        TokenizerError: the file is malformed, or says something that such a model cannot say.
    """
    try:
        content = files.read_json(path)
    except CorruptFileError as error:
        raise TokenizerError(f"{error} Restore the file, or use the SentencePiece model in its place.") from error
    # What the file says of truncation and padding is left out, as every call says it anew.
    try:
        _check_pre_tokenizer(content.get("pre_tokenizer"))
        _check_frame(content.get("post_processor"), template, roles)
        character_map = _character_map(content.get("normalizer"))
        return _model(content.get("model"), layout, character_map), _added(content.get("added_tokens"))
    except _UnfitError as error:
        raise TokenizerError(
            f"'{path}' is no SentencePiece model of this family: {error} Use the tokenizer that the file was made "
            "for, or the SentencePiece model in its place."
        ) from None


def make_content(
    model: bytes, pieces: Mapping[str, int], template: Template, special: SpecialTokens
) -> dict[str, Any] | None:
    """Makes the content of ``tokenizer.json`` of a SentencePiece model.

    Args:
        model: the content of the model's file.
        pieces: id by piece.
        template: how special tokens frame the input.
        special: the special tokens.

    Returns:
        The content, or None where the format cannot say what the model or the ids say.
    """
    proto = _proto(model)
    rules, trainer = proto.normalizer_spec, proto.trainer_spec
    plain = (
        trainer.model_type == trainer.UNIGRAM
        and rules.add_dummy_prefix
        and rules.remove_extra_whitespaces
        and rules.escape_whitespaces
        and not trainer.treat_whitespace_as_suffix
        and all(piece.type == piece.NORMAL for piece in proto.pieces if piece.piece not in special.ids)
        # The library counts ids on, whatever the file says.
        and sorted({*pieces.values(), *special.tokens}) == list(range(len({*pieces, *special.ids})))
    )
    if not plain:
        return None
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    character_map = base64.b64encode(rules.precompiled_charsmap).decode()
    first = [{"type": "Precompiled", "precompiled_charsmap": character_map}] if character_map else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, **token.to_dict()} for index, token in sorted(special.tokens.items())],
        "normalizer": {"type": "Sequence", "normalizers": [*first, *_SPACES]},
        "pre_tokenizer": _METASPACE,
        "post_processor": _post_processor(template, special),
        "decoder": _METASPACE,
        "model": {
            "type": "Unigram",
            "unk_id": special.role_ids()["unk_token"],
            "vocab": [[piece, scores.get(piece, 0.0)] for piece in pieces],
            "byte_fallback": False,
        },
    }


def _post_processor(template: Template, special: SpecialTokens) -> dict[str, Any]:
    def parts(order: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
        return [
            {"Sequence": {"id": _TEXTS[part], "type_id": segment}}
            if part in _TEXTS
            else {"SpecialToken": {"id": special.roles[part], "type_id": segment}}
            for part, segment in order
        ]

    names = dict.fromkeys(str(special.roles[part]) for part, _ in template.pair if part not in _TEXTS)
    return {
        "type": "TemplateProcessing",
        "single": parts(template.single),
        "pair": parts(template.pair),
        "special_tokens": {name: {"id": name, "ids": [special.ids[name]], "tokens": [name]} for name in names},
    }


def _model(model: Any, layout: PieceIds, character_map: bytes) -> bytes:
    vocabulary = _field(model, "model", "vocab", list)
    if model.get("type") != "Unigram" or model.get("byte_fallback"):
        raise _UnfitError(f"its model is of type {model.get('type')!r}, or falls back on bytes.")
    unknown = layout.first.index(layout.own[0])
    if model.get("unk_id") != unknown:
        raise _UnfitError(f"its unk_id should be {unknown}, but is {model.get('unk_id')!r:.80}.")
    names = [entry[0] for entry in vocabulary[: len(layout.first)] if isinstance(entry, list) and entry]
    if names != list(layout.first):
        raise _UnfitError(f"its vocabulary begins with {names!r:.80}, not with {', '.join(layout.first)}.")
    proto = _proto(b"")
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.normalizer_spec.precompiled_charsmap = character_map
    for index, name in enumerate(layout.own):
        piece_type = proto.SentencePiece.CONTROL if index else proto.SentencePiece.UNKNOWN
        proto.pieces.add(piece=name, score=0.0, type=piece_type)
    for index, entry in enumerate(vocabulary[len(layout.first) :], start=len(layout.first)):
        match entry:
            case [layout.last, _] if index == len(vocabulary) - 1:
                break
            case [str(piece), int() | float() as score] if abs(score) < _LARGEST_SCORE:
                try:
                    proto.pieces.add(piece=piece, score=score, type=proto.SentencePiece.NORMAL)
                    continue
                except ValueError:  # half of a surrogate pair
                    pass
        raise _UnfitError(f"entry {index} of its vocabulary should be a piece and its score, but is {entry!r:.80}.")
    return proto.SerializeToString()


def _proto(model: bytes) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2  # made while importing, so that no type checker knows them
    return messages.ModelProto.FromString(model)


def _character_map(normalizer: Any) -> bytes:
    maps = []
    for step in _steps(normalizer, "normalizer", "normalizers"):
        match step:
            case {"type": "Precompiled", "precompiled_charsmap": str(encoded)}:
                try:
                    maps.append(base64.b64decode(encoded, validate=True))
                except ValueError:
                    raise _UnfitError("its precompiled_charsmap is not base64.") from None
            case {"type": "Strip"} | {"type": "Replace", "pattern": {"Regex": " {2,}"}}:
                pass
            case _:
                raise _UnfitError(f"its normalizer has a step that such a model has not: {step!r:.80}.")
    if len(maps) > 1:
        raise _UnfitError("its normalizer has several tables of characters.")
    return maps[0] if maps else b""


def _check_pre_tokenizer(pre_tokenizer: Any) -> None:
    steps = [step for step in _steps(pre_tokenizer, "pre_tokenizer", "pretokenizers") if step != _WHITESPACE]
    match steps:
        case [{"type": "Metaspace", "replacement": replacement, **rest}] if replacement == SPACE:
            # Older files say it with another word.
            if rest.get("prepend_scheme", "always") == "always" and rest.get("add_prefix_space", True):
                return
    raise _UnfitError(f"its pre_tokenizer should put {SPACE!r} in front of every word, but is {steps!r:.160}.")


_WHITESPACE = {"type": "WhitespaceSplit"}


def _check_frame(post_processor: Any, template: Template, roles: Mapping[str, str]) -> None:
    if post_processor is None:
        return
    found: list[tuple[str, str]] = []
    wanted: list[tuple[str, str]] = []
    for name, order in (("single", template.single), ("pair", template.pair)):
        parts = _field(post_processor, "post_processor", name, list)
        found += map(_part, parts)
        wanted += [("Sequence", _TEXTS[part]) if part in _TEXTS else ("SpecialToken", roles[part]) for part, _ in order]
    if found != wanted:
        raise _UnfitError(
            f"its post_processor frames texts as {' '.join(name for _, name in found)}, not as "
            f"{' '.join(name for _, name in wanted)}."
        )


def _part(part: Any) -> tuple[str, str]:
    match part:
        case {"Sequence": {"id": str(name)}}:
            return "Sequence", name
        case {"SpecialToken": {"id": str(name)}}:
            return "SpecialToken", name
    return "", "?"


def _added(tokens: Any) -> dict[int, Any]:
    if not isinstance(tokens, list | None):
        raise _UnfitError(f"its added_tokens should be a list, but are {kind(tokens)}.")
    added = {}
    for token in tokens or ():
        match token:
            case {"id": int(index), "content": str()} if index >= 0 and index is not True:
                added[index] = token
            case _:
                raise _UnfitError(f"its added_tokens should have an id and a content each, but one is {token!r:.80}.")
    return added


def _steps(value: Any, name: str, inner: str) -> Iterator[Any]:
    if isinstance(value, dict) and value.get("type") == "Sequence":
        for step in _field(value, name, inner, list):
            yield from _steps(step, name, inner)
    elif value is not None:
        yield value


def _field(value: Any, name: str, field: str, wanted: type) -> Any:
    found = value.get(field) if isinstance(value, dict) else None
    if not isinstance(found, wanted):
        raise _UnfitError(f"its {name} should have a {wanted.__name__} of {field!r}, but is {value!r:.80}.")
    return found
