"""`tfxlm convert`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tfxlm.cli.options import Offline, Revision, Source, Subfolder, Token, Variant, hub_options
from tfxlm.cli.progress import bytes_done
from tfxlm.conversion import convert_checkpoint


def convert(
    source: Source,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The folder to make, or a file that ends in .keras.")],
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16, bfloat16 or float64; that of the weights by default.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option(help="Largest size of one file, as 5GB or 500MiB.")] = "5GB",
    preprocessing: Annotated[
        str | None, typer.Option(help="Of the tokenizer of an original XLM checkpoint: hf (the default) or fair.")
    ] = None,
    corrections: Annotated[
        bool, typer.Option(help="Put right what the files of a released checkpoint get wrong, or leave it.")
    ] = True,
    variant: Variant = None,
    revision: Revision = None,
    token: Token = None,
    subfolder: Subfolder = "",
    offline: Offline = False,
) -> None:
    """Write a checkpoint anew as safetensors, configuration and tokenizer, which transformers and tfxlm read.

    The folder appears when it is whole; what an interrupted conversion left is removed by the next one.
    """
    with bytes_done("converting") as progress:
        options: dict[str, Any] = hub_options(revision, token, subfolder, offline)
        files = convert_checkpoint(
            source,
            target,
            dtype=dtype,
            max_shard_size=max_shard_size,
            preprocessing=preprocessing,
            corrections=corrections,
            variant=variant,
            progress=None if target.endswith(".keras") else progress,
            **options,
        )
    for file in files:
        typer.echo(f"{file.stat().st_size:>15,} {file}")
