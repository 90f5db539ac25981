"""`tfxlm inspect`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from tfxlm.cli.options import Offline, Revision, Source, Subfolder, Token, Variant, hub_options
from tfxlm.cli.text import clean
from tfxlm.inspection import Inspection, inspect_checkpoint


def inspect(
    source: Source,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    variant: Variant = None,
    revision: Revision = None,
    token: Token = None,
    subfolder: Subfolder = "",
    offline: Offline = False,
) -> None:
    """Say what a checkpoint is: family, layout, sizes, vocabulary, languages, licence, problems. Reads no weights.

    Of safetensors on the hub only the headers are fetched; weights in other formats are downloaded. Ends with status 1
    when there are problems.
    """
    found = inspect_checkpoint(source, variant=variant, **hub_options(revision, token, subfolder, offline))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _rows(found):
            table.add_row(name, clean(text))
        Console().print(table)
    if found.problems:
        raise typer.Exit(1)


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "checkpoint", escape(found.path)
    if found.released:
        yield "released as", escape(found.released)
    yield "layout", escape(f"{found.program}, {found.file_format}, {found.files} file{'s' * (found.files > 1)}")
    yield "family", escape(found.family or "unknown")
    if found.architectures:
        yield "saved from", escape(", ".join(found.architectures))
    yield "configuration", escape(", ".join(f"{name}={value}" for name, value in found.config.items()) or "none")
    if found.family:
        heads = ", ".join(f"{name} ({count} tensor{'s' * (count > 1)})" for name, count in found.heads.items())
        yield "heads", escape(heads or "none")
        yield "loads whole as", escape(", ".join(found.loads_as) or "no class")
    yield "tensors", f"{found.tensors:,} with {found.parameters:,} numbers"
    yield "size", ", ".join(f"{decimal(size)} in {name}" for name, size in found.dtypes.items())
    yield "vocabulary", "none" if found.vocabulary is None else f"{found.vocabulary:,} ids"
    yield "languages", escape(" ".join(found.languages) or "none of its own")
    yield "licence", escape(found.licence or "not known here: see where it came from")
    if found.holds:
        yield "holds besides", escape(", ".join(found.holds))
    for name, texts, style in (("note", found.notes, ""), ("[red]problem[/]", found.problems, "red")):
        for text in texts:
            yield name, f"[{style}]{escape(text)}[/]" if style else escape(text)
