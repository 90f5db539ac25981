"""`tfxlm prepare`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from tfxlm.cli.progress import bytes_done
from tfxlm.data.prepare import prepare_store
from tfxlm.data.readers import MAX_LINE_BYTES
from tfxlm.data.store import SPLITS, Store, file_name
from tfxlm.errors import InputError

_MAX_CONFIG_BYTES = 1 << 20
# What is told of a corpus beside the table, by its name in the report of the store.
_REMARKS = {
    "bad_utf8": "lines with bytes that are no UTF-8, replaced by U+FFFD",
    "crlf": "lines that end as on Windows, which was taken away",
    "empty": "empty lines or sides",
    "too_long": "lines longer than --max-line-bytes, left out",
    "no_pair": "lines without a tab between two sentences, left out",
    "no_token": "sentences of which the tokenizer leaves nothing, left out",
    "held_out_elsewhere": "sentences left out, as they are held out of another corpus",
}
# Entries of a configuration beside "corpora", and the types of their values.
_SETTINGS: dict[str, tuple[type, ...]] = {
    "tokenizer": (str,),
    "out": (str,),
    "held_out": (int, float),
    "documents": (bool,),
    "bypass_tokenizer": (bool,),
    "max_line_bytes": (int,),
    "workers": (int,),
}


def prepare(
    corpora: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CORPUS]...",
            help="Language or pair, and place: en=corpus.txt.gz, de=folder, fr='*.txt.xz', en-de=pairs.tsv, "
            "en-fr=text.en,text.fr, or a store of the same tokenizer.",
        ),
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(metavar="FOLDER", help="The tokenizer.")] = None,
    out: Annotated[str | None, typer.Option(metavar="STORE", help="The folder to make.")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="How many sentences or pairs of each corpus are not learned from; or a share, such as 0.01."),
    ] = None,
    documents: Annotated[
        bool | None, typer.Option("--documents", help="A blank line ends a document; otherwise it means nothing.")
    ] = None,
    bypass_tokenizer: Annotated[
        bool | None, typer.Option("--bypass-tokenizer", help="Texts are cut into words by white space already.")
    ] = None,
    max_line_bytes: Annotated[
        int | None, typer.Option(help=f"Leave longer lines out; {MAX_LINE_BYTES} by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as there are processors by default.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file with these options (held_out = 1000) and a table of [corpora]."),
    ] = None,
) -> None:
    """Tokenize corpora into a store for pre-training: memory-mapped numbers by language and by pair of languages.

    Texts have one sentence in each line, plain or compressed by gzip, bzip2 or xz; pairs have a tab between two
    sentences, or are two files. The store appears when it is whole; after an interruption the same command goes on.
    """
    settings = _read(config) if config else {}
    places = settings.pop("corpora", {})
    if corpora and places:
        raise InputError(f"Corpora are named both here and in '{config}'. Name them in one place.")
    given = {
        "tokenizer": tokenizer,
        "out": out,
        "held_out": held_out,
        "documents": documents,
        "bypass_tokenizer": bypass_tokenizer,
        "max_line_bytes": max_line_bytes,
        "workers": workers,
    }
    settings |= {name: value for name, value in given.items() if value is not None}
    for name in ("tokenizer", "out"):
        if name not in settings:
            raise InputError(f"Say the {name}: --{name}, or {name} = ... in a configuration.")
    settings.setdefault("workers", os.cpu_count() or 1)
    with bytes_done("preparing") as progress:
        store = prepare_store(corpora or places, progress=progress, **settings)
    Console().print(_table(store))
    for name, counts in store.report.items():
        for what, text in _REMARKS.items():
            if counts.get(what):
                typer.echo(f"{name}: {counts[what]:,} {text}")


def _table(store: Store) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("language")
    for title in ("sentences", "tokens", "unknown", "held out", "size"):
        table.add_column(title, justify="right")
    for name in store.names:
        train, held = (store.part(name, split) for split in SPLITS)
        bytes_ = sum((store.path / file_name(name, split, "tokens")).stat().st_size for split in SPLITS)
        unknown = train.unknown / max(train.tokens, 1)
        table.add_row(
            *(name, f"{train.sentences:,}", f"{train.tokens:,}", f"{unknown:.2%}"),
            *(f"{held.sentences:,}", decimal(bytes_)),
        )
    return table


def _read(path: Path) -> dict[str, Any]:
    """Reads a configuration."""
    try:
        with path.open("rb") as file:
            found = tomllib.loads(file.read(_MAX_CONFIG_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read as TOML: {error}.") from error
    for name, value in found.items():
        if name == "corpora":
            _check_corpora(path, value)
        elif name not in _SETTINGS:
            raise InputError(f"'{path}' has {name!r}, but may have corpora, {', '.join(_SETTINGS)}.")
        elif type(value) not in _SETTINGS[name]:
            raise InputError(
                f"In '{path}' {name} should be of type {_SETTINGS[name][0].__name__}, but is {value!r:.40}."
            )
    return found


def _check_corpora(path: Path, value: Any) -> None:
    places = value.values() if isinstance(value, dict) else [None]
    for place in places:
        listed = [place] if isinstance(place, str) else place
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
            raise InputError(
                f"In '{path}' corpora should be a table of places by language: en = 'corpus.txt.gz', or a list of them."
            )
