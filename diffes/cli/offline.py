"""Verbs that make files: search and export. They alone may import search/ and export/, and only when run."""

from pathlib import Path
from typing import Annotated

import typer

from diffes.bundled import bundled_model
from diffes.cli.app import app
from diffes.cli.options import (
    CalibrationImages,
    Compensation,
    Device,
    Guidance,
    Model,
    SamplerName,
    Stages,
    Steps,
    Threads,
)
from diffes.cli.progress import console, progress_bars


@app.command()
def search(
    out: Annotated[Path, typer.Option(help="Folder for schedule.json, the log, the plot and what a resume needs.")],
    macs: Annotated[float, typer.Option(min=0, max=1, help="Share of MACs to remove, weighted by executed steps.")],
    model: Model = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that an earlier run left.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small settings and a limit of three minutes, for two CPU cores.")
    ] = False,
    sampler: SamplerName = None,
    steps: Steps = 20,
    guidance: Guidance = 1.5,
    stages: Stages = 10,
    compensation: Compensation = "full",
    calibration_images: CalibrationImages = None,
    population: Annotated[int | None, typer.Option(min=4, help="Schedules in a generation.")] = None,
    generations: Annotated[int | None, typer.Option(min=0, help="Generations of the evolution.")] = None,
    probes: Annotated[int | None, typer.Option(min=1, help="Images that a schedule is judged on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of probes and evolution.")] = 0,
    time_limit: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which the best so far is taken.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16, of the rollouts.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Search how much each stage may lose: errors one stage at a time, a knapsack, then PyGAD on whole rollouts."""
    from diffes.checkpoint import Checkpoint
    from search.job import run_search
    from search.options import SearchOptions

    preset = SearchOptions.quick(macs) if quick else SearchOptions(macs=macs)
    asked = {
        "sampler": sampler,
        "steps": steps,
        "guidance": guidance,
        "stages": stages,
        "compensation": compensation,
        "calibration_images": calibration_images,
        "population": population,
        "generations": generations,
        "probes": probes,
        "seed": seed,
        "time_limit": time_limit,
        "dtype": dtype,
        "device": device,
        "threads": threads,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    options = SearchOptions.checked({**preset.model_dump(), **given})
    run_search(Checkpoint.open(model or bundled_model()), options, out, resume=resume, console=console)
    console.print(f"wrote {out}; next: diffes export --schedule {out / 'schedule.json'} --out BUNDLE", soft_wrap=True)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    schedule: Annotated[
        list[str],
        typer.Option(
            help="What each stage keeps: a schedule.json, `dense`, or `uniform:0.375` (share removed). Give NAME=... to"
            " name it, and repeat for several over one blob; the first is the default, `dense` is always there."
        ),
    ],
    model: Model = None,
    compensation: Annotated[
        str | None, typer.Option(help="none, bias or full. Default: what the schedule was searched with, else full.")
    ] = None,
    sampler: SamplerName = None,
    steps: Steps = 20,
    guidance: Guidance = 1.5,
    stages: Stages = 10,
    calibration: Annotated[
        Path | None, typer.Option(help="Calibration file of the search. Default: the cached one, or made now.")
    ] = None,
    calibration_images: CalibrationImages = None,
    device: Device = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Write a bundle: one blob of weights, and an ONNX subgraph per distinct stage plan reading prefixes of it."""
    from export.request import ExportRequest, run_export

    request = ExportRequest(
        model=model or bundled_model(),
        schedules=tuple(schedule),
        out=out,
        compensation=compensation,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        stages=stages,
        calibration=calibration,
        calibration_images=calibration_images,
        device=device,
        overwrite=force,
    )
    with progress_bars() as report:
        bundle = run_export(request, report)
    count = len(bundle.manifest.subgraphs)
    console.print(f"wrote {out}: {count} subgraphs over one blob; next: diffes inspect {out}", soft_wrap=True)
