"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder, a file (.safetensors, .bin, .pth, model.pt, tf_model.h5) or a name on the Hugging Face hub.",
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
Token = Annotated[str | None, typer.Option(help="Token for the hub; the stored one by default.")]
Subfolder = Annotated[str, typer.Option(help="Folder inside the folder or repository.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use the cache of the hub only.")]
Variant = Annotated[str | None, typer.Option(help='Variant of the weights, as "fp16" for model.fp16.safetensors.')]


def hub_options(revision: str | None, token: str | None, subfolder: str, offline: bool) -> dict[str, Any]:
    """Returns the options about the hub as `from_pretrained` takes them."""
    return {"revision": revision, "token": token, "subfolder": subfolder, "local_files_only": offline}
