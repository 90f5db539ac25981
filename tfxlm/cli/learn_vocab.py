"""`tfxlm learn-vocab`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tfxlm.cli.progress import bytes_done
from tfxlm.data.vocabularies import learn_vocabulary


def learn_vocab(
    corpora: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS...",
            help="Language or pair, and place: en=corpus.txt.gz, de=folder, fr='*.txt.xz', en-de=pairs.tsv.",
        ),
    ],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to make.")],
    size: Annotated[int, typer.Option(help="Number of ids, special tokens included.")],
    family: Annotated[
        str, typer.Option(help="xlm (byte-pair encoding of words) or xlm-roberta (SentencePiece).")
    ] = "xlm",
    alpha: Annotated[
        float, typer.Option(help="Languages have their share of the sentences to this power: less raises small ones.")
    ] = 0.5,
    sentences: Annotated[
        int | None, typer.Option(help="How many to learn from; as many as there are by default.")
    ] = None,
    coverage: Annotated[float, typer.Option(help="Share of the characters that get pieces.")] = 1.0,
    preprocessing: Annotated[
        str,
        typer.Option(help="Of XLM: fair (the original's rules, rows open with </s>) or hf (those of transformers)."),
    ] = "fair",
    case: Annotated[
        str | None, typer.Option(help="Of XLM with fair, what to lower-case: none, ascii, unicode.")
    ] = None,
    accents: Annotated[str | None, typer.Option(help="Of XLM with fair: keep or strip.")] = None,
    model_max_length: Annotated[int, typer.Option(help="Longest input, for the settings.")] = 512,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as there are processors by default.")] = None,
) -> None:
    """Learn a vocabulary that languages share, and write the files of its tokenizer.

    The same texts and options give the same files. The folder appears when it is whole.
    """
    with bytes_done("learning") as progress:
        tokenizer = learn_vocabulary(
            corpora,
            out,
            size=size,
            family=family,
            alpha=alpha,
            sentences=sentences,
            coverage=coverage,
            preprocessing=preprocessing,
            case=case,
            accents=accents,
            model_max_length=model_max_length,
            workers=workers or os.cpu_count() or 1,
            progress=progress,
        )
    typer.echo(f"{len(tokenizer):,} ids in {out}")
