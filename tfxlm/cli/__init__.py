"""The command line, `tfxlm`: one file for each command."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from tfxlm._version import __version__
from tfxlm.cli.convert import convert
from tfxlm.cli.inspect import inspect
from tfxlm.errors import TFXLMError

app = typer.Typer(
    name="tfxlm",
    help="XLM, XLM-RoBERTa and XLM-RoBERTa-XL in Keras: checkpoints from everywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(inspect)
app.command()(convert)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tfxlm {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


def main() -> None:
    """Runs the command line; an error that is explained ends it with status 1 and without a traceback."""
    try:
        app()
    except TFXLMError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; nothing was left half written")
        sys.exit(130)
