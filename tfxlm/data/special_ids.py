"""What pre-training must know of a tokenizer: its special ids and languages, and how it lays texts out."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfxlm.errors import TokenizerError
from tfxlm.tokenizers.base import Tokenizer
from tfxlm.tokenizers.framing import Framing

# Settings that decide which ids a text gets, or what they stand for.
_SETTINGS = ("preprocessing", "do_lowercase_and_remove_accent", "case", "accents", "sp_model_kwargs")


@dataclass(frozen=True)
class SpecialIds:
    """Special ids, languages and layout of a tokenizer.

    Args:
        size: number of ids.
        first: opens a row.
        separator: closes a sentence.
        pad: fills rows up.
        mask: stands for hidden tokens.
        special: all ids that are never hidden and never drawn at random.
        languages: id by language code; empty where models have no languages.
        pair: the parts of a pair of sentences in order, as `Framing.layout` gives them.
        restarts: whether positions restart for the second sentence of a pair.
        whole_sentences: whether rows hold whole sentences, filled up with padding; otherwise a stream of sentences is
            cut where a row is full.
    """

    size: int
    first: int
    separator: int
    pad: int
    mask: int
    special: tuple[int, ...]
    languages: Mapping[str, int]
    pair: tuple[tuple[int | str, int], ...]
    restarts: bool
    whole_sentences: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SpecialIds:
        """Returns those of a tokenizer.

        Raises:
            TokenizerError: it lacks a token that pre-training needs.
        """
        layout, roles = tokenizer.pretraining, tokenizer.special.role_ids()
        ids: dict[str, int] = {}
        for role in (layout.first, layout.separator, "pad_token", "mask_token"):
            index = roles[role]
            if index is None:
                raise TokenizerError(
                    f"Pre-training needs a {role}, but this tokenizer has none. Name the token for it."
                )
            ids[role] = index
        return cls(
            size=len(tokenizer),
            first=ids[layout.first],
            separator=ids[layout.separator],
            pad=ids["pad_token"],
            mask=ids["mask_token"],
            special=tuple(sorted({*tokenizer.special.ids.values(), *tokenizer.all_special_ids})),
            languages=dict(tokenizer.languages.ids),
            pair=tuple(Framing(layout.pair, roles).layout(pair=True)),
            restarts=layout.restarts,
            whole_sentences=layout.whole_sentences,
        )


def fingerprint(tokenizer: Tokenizer) -> str:
    """Returns a hash of all that decides which ids texts get: two tokenizers that share it are the same.

    Args:
        tokenizer: any.
    """
    special = {name: tokenizer.special.ids[name] for name in sorted(tokenizer.special.ids)}
    rules = {
        "class": type(tokenizer).__name__.removesuffix("Fast"),
        "settings": {name: tokenizer.settings.get(name) for name in _SETTINGS},
        "roles": tokenizer.special.role_ids(),
        "special": special,
        "languages": dict(sorted(tokenizer.languages.ids.items())),
    }
    digest = hashlib.blake2b(json.dumps(rules, sort_keys=True, default=str).encode(), digest_size=16)
    with tempfile.TemporaryDirectory() as folder:
        for path in tokenizer.save_vocabulary(folder):
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()
