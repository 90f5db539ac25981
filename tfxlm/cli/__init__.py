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
from tfxlm.cli.learn_vocab import learn_vocab
from tfxlm.cli.prepare import prepare
from tfxlm.cli.pretrain import pretrain
from tfxlm.cli.serve import serve
from tfxlm.cli.text import CleanFormatter, clean
from tfxlm.errors import TFXLMError

_INTERRUPTED = 130

app = typer.Typer(
    name="tfxlm",
    help="XLM, XLM-RoBERTa and XLM-RoBERTa-XL in Keras: checkpoints from everywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(inspect)
app.command()(convert)
app.command()(learn_vocab)
app.command()(prepare)
app.command()(pretrain)
# tensorflow_model_server spells its options with underscores.
app.command(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})(serve)


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
    handler.setFormatter(CleanFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def main() -> None:
    """Runs the command line; an error that is explained ends it with status 1 and without a traceback.

    So does one of the system, such as a disk that is full.
    """
    try:
        app()
    except (TFXLMError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(clean(str(error)))}", soft_wrap=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # by Ctrl+C, of which nothing else comes out of `app`
            Console(stderr=True).print("interrupted; nothing was left half written")
        raise
