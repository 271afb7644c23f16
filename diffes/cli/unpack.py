"""`diffes unpack`: a checkpoint in one file becomes a folder."""

from pathlib import Path
from typing import Annotated

import typer

from diffes.cli.app import app
from diffes.cli.progress import console


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="An SDXL checkpoint in one .safetensors file.")],
    out: Annotated[Path, typer.Option(help="Model folder to write, in diffusers layout.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the pipeline's configs and tokenizers, in diffusers layout; its weights are not read."
            " Default: SDXL's own, from the hub."
        ),
    ] = None,
) -> None:
    """Unpack a checkpoint in one .safetensors file into a model folder, which every other verb takes."""
    from diffes.single_file import unpack as unpack_file

    unpack_file(file, config, out)
    console.print(f"wrote {out}; next: diffes search {out} --macs 0.3 --guidance 5 --out SEARCH", soft_wrap=True)
