"""`tfxlm pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfxlm.training.settings import PretrainingConfig


def pretrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A file of settings in YAML, TOML or JSON.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Another value of a field; several times for several."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Pre-train a model on a store of texts (see `tfxlm prepare`), with MLM, CLM, TLM, or a mixture.

    The settings are those of tfxlm.training.PretrainingConfig: store, output, objectives and steps must be there. The
    output folder gets checkpoints/, logs/ for TensorBoard and, at the end, model/ and results.json. What was
    interrupted in whatever way goes on with --resume, with the same batches.
    """
    settings = PretrainingConfig.from_file(config, changes or ())
    console = Console()
    # Late, because they import TensorFlow, which neither --help nor a mistake in the settings should wait for.
    if dry_run:
        from tfxlm.training.plan import make_plan

        for table in make_plan(settings).tables():
            console.print(table)
        return
    from tfxlm.training.recipes import pretrain as train

    train(settings, resume=resume, console=console)
