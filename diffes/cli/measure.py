"""Verbs that judge a bundle: inspect, verify, eval."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffes.bundled import bundled_features
from diffes.cli.app import app
from diffes.cli.options import (
    AsJson,
    BackendName,
    BundleFolder,
    Device,
    ScheduleName,
    Threads,
)
from diffes.cli.progress import progress_bars


@app.command()
def inspect(bundle: BundleFolder, as_json: AsJson = False) -> None:
    """Verify a bundle and print its stages, plans, MACs, subgraphs, bytes and memory against the dense model's."""
    from diffes.bundle import Bundle
    from diffes.inspection import inspect as inspect_bundle

    inspection = inspect_bundle(Bundle.open(bundle))
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=1))
    else:
        Console().print(inspection)


@app.command()
def verify(
    bundle: BundleFolder,
    images: Annotated[int, typer.Option(min=1, help="Images whose trajectories are walked.")] = 2,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Compare every subgraph on a backend with torch in float32, step by step on real trajectories; exit 1 if one is
    off."""
    from diffes.backends import open_backend
    from diffes.bundle import Bundle
    from diffes.verification import require_verified
    from diffes.verification import verify as verify_backend

    opened = Bundle.open(bundle)
    runner = open_backend(backend, opened, device, threads)
    reference = device if device.startswith("cuda") else "cpu"
    with progress_bars() as tell:
        found = verify_backend(
            opened, runner, images=images, device=reference, progress=lambda share: tell("walking both", share)
        )
    runner.close()
    if as_json:
        typer.echo(json.dumps([asdict(graph) for graph in found], indent=1))
    else:
        table = Table("subgraph", "steps", "largest difference", "allowed", title=f"{backend} against torch")
        for graph in found:
            table.add_row(graph.subgraph, str(graph.steps), f"{graph.error:.2e}", f"{graph.allowed:.0e}")
        Console().print(table)
    require_verified(found, backend)


@app.command("eval")
def evaluate(
    bundle: BundleFolder,
    against: Annotated[str, typer.Option(help="Reference schedule of the same bundle.")] = "dense",
    n: Annotated[int, typer.Option("-n", "--n", min=2, help="Images on each side, from the same noise.")] = 5000,
    schedule: ScheduleName = None,
    guidance: Annotated[
        list[float] | None,
        typer.Option(min=1, help="Guidance scale; repeat to compare each side's best. Default: the schedule's."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Feature network folder. Default: the bundled CIFAR-10 one.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 100,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure how far a schedule's images are from a reference schedule's, and how good they are."""
    from diffes.backends import open_backend
    from diffes.bundle import Bundle
    from diffes.evaluation import evaluate_bundle
    from diffes.quality import FeatureExtractor

    opened = Bundle.open(bundle)
    here = "cpu" if backend == "triton" else device  # a server runs the bundle, not the judge
    extractor = FeatureExtractor.load(features or bundled_features(), here)
    runner = open_backend(backend, opened, device, threads)
    with progress_bars() as tell:
        found = evaluate_bundle(
            opened,
            runner,
            extractor,
            (schedule, against),
            n,
            batch,
            guidance or (),
            progress=lambda share: tell("sampling both", share),
        )
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    heads = [f"guidance {scale:g}" for scale in found.evaluations]
    table = Table("measure", *heads, title=f"{schedule or 'default schedule'} against {against}, N = {n}")
    columns = [evaluation.to_json() for evaluation in found.evaluations.values()]
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:.4g}" for column in columns))
    if len(columns) > 1:
        table.caption = f"nearest to the data: guidance {found.best:g}, {against} at {found.reference_best:g}"
    Console().print(table)
