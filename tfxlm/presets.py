"""The released checkpoints: what they are, and what their stored settings get wrong. Data only.

Sources: the README of the original XLM code, the stored configurations on the hub, and, for letter case, the released
vocabularies themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

XLM_LICENCE = "CC BY-NC 4.0 (not for commercial use)"
XLM_ROBERTA_LICENCE = "MIT"


@dataclass(frozen=True)
class Released:
    """A released checkpoint.

    Attributes:
        name: on the hub.
        sizes: fields of the configuration that tell it from others of the same name.
        licence: of the weights.
        languages: codes, by id where the model has language embeddings.
        original: name of the original file, without its ending.
        codes: ending of the names of its merges and vocabulary, as in ``codes_ende``.
        config: fields of the configuration as they are in truth, where the stored ones are wrong.
        letters: what was done to the letters of its training texts, as `XLMTokenizer` takes it (`case`, `accents`),
            where the stored settings are wrong.
    """

    name: str
    sizes: Mapping[str, int]
    licence: str = XLM_LICENCE
    languages: tuple[str, ...] = ()
    original: str = ""
    codes: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)


_CAUSAL = {"causal": True}
_CASED = {"case": "none", "accents": "keep"}
_ASCII = {"case": "ascii", "accents": "strip"}


def _languages(codes: str) -> tuple[str, ...]:
    return tuple(codes.split())


_XNLI = _languages("ar bg de el en es fr hi ru sw th tr ur vi zh")
_SEVENTEEN = _languages("ar de en es fr hi it ja ko nl pl pt ru sv tr vi zh")
_HUNDRED = _languages(
    """
    af als am an ang ar arz ast az bar be bg bn br bs ca ceb ckb cs cy da de el en eo es et eu fa fi fr fy ga gan gl
    gu he hi hr hu hy ia id is it ja jv ka kk kn ko ku la lb lt lv mk ml mn mr ms my nds ne nl nn no oc pl pt ro ru
    scn sco sh si simple sk sl sq sr sv sw ta te th tl tr tt uk ur uz vi war wuu yi zh zh_classical zh_min_nan
    zh_yue
    """
)


def _xlm(
    name: str, layers: int, heads: int, words: int, languages: tuple[str, ...], codes: str, **more: Any
) -> Released:
    dim = name.rpartition("-")[2]
    sizes = {
        "emb_dim": int(dim),
        "n_layers": layers,
        "n_heads": heads,
        "vocab_size": words,
        "n_langs": len(languages),
    }
    return Released(f"FacebookAI/xlm-{name}", sizes, XLM_LICENCE, languages, name.replace("-", "_"), codes, **more)


def _roberta(name: str, dim: int, layers: int, heads: int, words: int = 250002) -> Released:
    sizes = {"hidden_size": dim, "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": words}
    return Released(name, sizes, XLM_ROBERTA_LICENCE)


RELEASED: tuple[Released, ...] = (
    _xlm("mlm-en-2048", 12, 16, 30145, ("en",), "en"),
    _xlm("mlm-ende-1024", 6, 8, 64699, ("de", "en"), "ende", letters=_CASED),
    _xlm("mlm-enfr-1024", 6, 8, 64139, ("en", "fr"), "enfr", letters=_CASED),
    # Romanian letters lost their marks by the rules of its language, which the tokenizer has; others kept theirs.
    _xlm("mlm-enro-1024", 6, 8, 64592, ("en", "ro"), "enro", letters=_CASED),
    _xlm("clm-enfr-1024", 6, 8, 64139, ("en", "fr"), "enfr", letters=_CASED, config=_CAUSAL),
    _xlm("clm-ende-1024", 6, 8, 64699, ("de", "en"), "ende", letters=_CASED, config=_CAUSAL),
    _xlm("mlm-xnli15-1024", 12, 8, 95000, _XNLI, "xnli_15", letters=_ASCII),
    _xlm("mlm-tlm-xnli15-1024", 12, 8, 95000, _XNLI, "xnli_15", letters=_ASCII),
    _xlm("mlm-17-1280", 16, 16, 200000, _SEVENTEEN, "xnli_17"),
    _xlm("mlm-100-1280", 16, 16, 200000, _HUNDRED, "xnli_100"),
    _roberta("FacebookAI/xlm-roberta-base", 768, 12, 12),
    _roberta("FacebookAI/xlm-roberta-large", 1024, 24, 16),
    *(
        _roberta(f"FacebookAI/xlm-roberta-large-finetuned-{data}", 1024, 24, 16)
        for data in ("conll02-dutch", "conll02-spanish", "conll03-english", "conll03-german")
    ),
    _roberta("facebook/xlm-roberta-xl", 2560, 36, 32, 250880),
    _roberta("facebook/xlm-roberta-xxl", 4096, 48, 32, 250880),
)

# A repository in the cache of the hub library is a folder of this name.
_CACHED = re.compile(r"models--.+--(.+)")
_ALIASES = {"n_words": "vocab_size", "n_layer": "n_layers", "n_head": "n_heads"}


def find(name_or_path: str | PurePath, config: Mapping[str, Any]) -> Released | None:
    """Finds out which released checkpoint something is.

    Args:
        name_or_path: a hub name, with or without its organisation; a folder of that name, or inside the cache of the
            hub library; or an original file.
        config: the content of its ``config.json``.

    Returns:
        The checkpoint; None when it has another name, or other sizes.
    """
    path = PurePath(name_or_path)
    cached = [match[1] for part in path.parts if (match := _CACHED.fullmatch(part))]
    name = cached[-1] if cached else path.name
    sizes = {_ALIASES.get(field, field): value for field, value in config.items()}
    for released in RELEASED:
        if name in (released.name.rpartition("/")[2], f"{released.original}.pth") and all(
            sizes.get(field, size) == size for field, size in released.sizes.items()
        ):
            return released
    return None
