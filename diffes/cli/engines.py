"""`diffes engines`: build TensorRT engines before they are served."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffes.cli.app import app
from diffes.cli.options import BundleFolder
from diffes.cli.progress import console, progress_bars


@app.command()
def engines(
    bundle: BundleFolder,
    batches: Annotated[
        str | None,
        typer.Option(
            envvar="DIFFES_TENSORRT_BATCHES",
            metavar="ROWS,...",
            help="Rows of a call that engines are built for; the server must be given the same by"
            " DIFFES_TENSORRT_BATCHES. Default: 2,8,32.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="GPU to build on and for; TensorRT-RTX needs none and asks for none.")
    ] = "cuda",
) -> None:
    """Build a bundle's TensorRT engines into the cache, where `--backend tensorrt` finds them."""
    from diffes.backends.tensorrt.ahead import build_ahead, cache_for
    from diffes.backends.tensorrt.profiles import batches_from
    from diffes.bundle import Bundle

    opened, cache, wanted = Bundle.open(bundle), cache_for(device), batches_from(batches)
    table = Table("network", "graphs", "profiles", "MB", "seconds", "engine")
    with progress_bars() as report:
        for made in build_ahead(opened, cache, wanted, report):
            spec = made.spec
            size, took = f"{made.bytes / 1e6:.1f}", f"{made.seconds:.1f}"
            table.add_row(spec.network.name, str(len(spec.graphs)), str(len(spec.profiles)), size, took, made.path.name)
    Console().print(table)
    console.print(
        f"{cache.package.name} {cache.package.version}, target {cache.target}, in {cache.folder}; next: diffes serve"
        f" {bundle} --backend tensorrt --device cuda",
        soft_wrap=True,
    )
