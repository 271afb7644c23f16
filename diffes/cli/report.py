"""`diffes report`: the page of a search, from the files it left."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffes.bundled import bundled_model
from diffes.cli.app import app
from diffes.cli.options import Device
from diffes.cli.progress import console, progress_bars

if TYPE_CHECKING:
    from diffes.checkpoint import Checkpoint


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a search, finished or interrupted.")],
    model: Annotated[
        Path | None,
        typer.Argument(help="Model folder, for the samples. Default: the bundled one, if it is the search's."),
    ] = None,
    images: Annotated[int, typer.Option(min=0, max=10, help="Samples of each schedule, one a label; 0 for none.")] = 10,
    device: Device = "cpu",
) -> None:
    """Write report.html and its PNGs into a search's folder: one page, readable without a network."""
    from diffes.checkpoint import Checkpoint
    from search.report.record import Record

    record = Record.load(folder)
    if model is not None:
        checkpoint: Checkpoint | None = Checkpoint.open(model)
    else:
        bundled = Checkpoint.open(bundled_model())
        checkpoint = bundled if bundled.identity == record.state.model else None
    write_page(folder, checkpoint, images=images, device=device)


def write_page(folder: Path, checkpoint: "Checkpoint | None", *, images: int, device: str) -> None:
    """Make the report of `folder` and say where it lies; without a checkpoint it has no samples and says so."""
    from search.report.page import make_report

    with progress_bars() as tell:
        path = make_report(
            folder,
            checkpoint,
            images=images,
            device=device,
            why_no_model="The search was not of the bundled model, and no model folder was given.",
            progress=lambda share: tell("samples", share),
        )
    console.print(f"wrote {path}", soft_wrap=True)
