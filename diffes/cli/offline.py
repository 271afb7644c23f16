"""Verbs that make files: search and export. They alone may import search/ and export/, and only when run."""

from pathlib import Path
from typing import Annotated

import typer

from diffes.bundled import bundled_model
from diffes.cli.app import app
from diffes.cli.options import (
    BUDGET,
    CalibrationData,
    CalibrationImages,
    Compensation,
    Damping,
    Device,
    Guidance,
    Model,
    Prompts,
    SamplerName,
    Stages,
    Steps,
    Threads,
)
from diffes.cli.progress import console, progress_bars
from diffes.cli.report import write_page

REPORT_IMAGES = 10  # none after a quick search, whose minutes are worth more than another look at them


@app.command()
def search(
    out: Annotated[
        Path, typer.Option(help="Folder for schedule.json or pareto.json, log, plot and what a resume needs.")
    ],
    model: Model = None,
    macs: Annotated[
        str | None,
        typer.Option(
            metavar=BUDGET,
            help="Share of MACs to remove, weighted by executed steps; a range such as 0.2:0.65 asks for a Pareto"
            " front of error against cost.",
        ),
    ] = None,
    latency: Annotated[
        str | None, typer.Option(metavar=BUDGET, help="Share of measured latency to remove, instead of MACs.")
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(help="Latencies measured on the machine that will serve, for --latency.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar=BUDGET, help="Share of weight bytes that steps read to remove, instead.")
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="MULTIPLE",
            help="Most weights that an export may store, compensated ones included, of the dense model's, such as 1.1:"
            " stages then agree on few widths of every layer. Default: no limit.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="evolution (ours), or a baseline as published: uniform, random, mosaic, diff-es."),
    ] = "evolution",
    genes: Annotated[
        str | None,
        typer.Option(
            help="Blocks that share levels: block (none; the default), group:N (N runs of blocks) or stage (all)."
        ),
    ] = None,
    widths: Annotated[str | None, typer.Option(help="separate levels for heads and channels, or tied to one.")] = None,
    depth: Annotated[
        str | None, typer.Option(help="Skip halves of blocks: none, joint with widths, or alone (whole blocks).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that an earlier run left.")] = False,
    effort: Annotated[
        str,
        typer.Option(
            help="quick (three minutes on two CPU cores, by a time limit), normal (under ten), or thorough (a GPU,"
            " or a night): images, table, schedules and generations, each of which an option of its own overrides."
        ),
    ] = "normal",
    sampler: SamplerName = None,
    steps: Steps = 20,
    guidance: Guidance = 1.5,
    stages: Stages = 10,
    compensation: Compensation = "full",
    objective: Annotated[
        str | None,
        typer.Option(
            help="What schedules are judged by: mse (default), cosine, pixel-mse, ssim, feature-maps, features,"
            " frechet, or pyiqa:METRIC."
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Feature network folder of the objective. Default: the bundled CIFAR-10 one.")
    ] = None,
    calibration_images: CalibrationImages = None,
    calibration_data: CalibrationData = None,
    prompts: Prompts = None,
    damping: Damping = "auto",
    population: Annotated[int | None, typer.Option(min=4, help="Schedules in a generation.")] = None,
    generations: Annotated[int | None, typer.Option(min=0, help="Generations of the evolution.")] = None,
    probes: Annotated[int | None, typer.Option(min=1, help="Images that a schedule is judged on.")] = None,
    screen_probes: Annotated[
        int | None, typer.Option(min=1, help="Of these, images that a schedule must first do well on.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of probes and evolution.")] = 0,
    time_limit: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which the best so far is taken.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Arithmetic of rollouts: float32 (default on a CPU), tf32 (on a GPU) or bfloat16."),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that judge schedules side by side: one a GPU (--device cuda), all on one that is named"
            " (cuda:0), or each on its share of the CPU's cores. The result is that of one"
            " process with the same --threads.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Judge on every device of a Ray cluster instead, or on --workers of them: its address, auto for the"
            " one this machine belongs to, local to start one here. Needs `pip install 'diffes[ray]'`.",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html at the end; later: diffes report.")
    ] = True,
) -> None:
    """Search how much each stage may lose: errors one stage at a time, a knapsack, then PyGAD on whole rollouts."""
    from diffes.checkpoint import Checkpoint
    from search.distributed import distribution_for
    from search.job import run_front, run_search
    from search.options import SearchOptions
    from search.presets import preset

    asked = {
        "method": method,
        "macs": macs,
        "latency": latency,
        "latency_table": None if latency_table is None else str(latency_table),
        "weights": weights,
        "memory": memory,
        "genes": genes,
        "widths": widths,
        "depth": depth,
        "sampler": sampler,
        "steps": steps,
        "guidance": guidance,
        "stages": stages,
        "compensation": compensation,
        "objective": objective,
        "features": None if features is None else str(features),
        "calibration_images": calibration_images,
        "calibration_data": None if calibration_data is None else str(calibration_data),
        "prompts": None if prompts is None else str(prompts),
        "damping": damping,
        "population": population,
        "generations": generations,
        "probes": probes,
        "screen_probes": screen_probes,
        "seed": seed,
        "time_limit": time_limit,
        "dtype": dtype,
        "device": device,
        "threads": threads,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    options = SearchOptions.checked({**preset(method, effort), **given})
    checkpoint = Checkpoint.open(model or bundled_model(), prompts)
    table = None
    if latency_table is not None:
        from diffes.latency.table import LatencyTable

        table = LatencyTable.load(latency_table)
        table.require_fit(checkpoint.identity)
    chosen = distribution_for(workers, ray)
    if options.front:
        run_front(checkpoint, options, out, latency=table, resume=resume, distribution=chosen, console=console)
        found = f"{out / 'pareto.json'}@SHARE"
    else:
        run_search(checkpoint, options, out, latency=table, resume=resume, distribution=chosen, console=console)
        found = str(out / "schedule.json")
    if report:
        write_page(out, checkpoint, images=0 if effort == "quick" else REPORT_IMAGES, device=device)
    console.print(f"wrote {out}; next: diffes export --schedule {found} --out BUNDLE", soft_wrap=True)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Bundle folder, or Triton model repository, to write.")],
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            help="What each stage keeps: a schedule.json, a point of a front as `pareto.json@0.375` (share removed, at"
            " least), `dense`, or `uniform:0.375`. Give NAME=... to name it, and repeat for several over one blob; the"
            " first is the default, `dense` is always there."
        ),
    ] = None,
    model: Model = None,
    target: Annotated[
        str,
        typer.Option(
            help="bundle, or triton: a model repository for tritonserver with the bundle in it. MODEL may then be a"
            " bundle, which is taken as it is, without --schedule."
        ),
    ] = "bundle",
    compensation: Annotated[
        str | None,
        typer.Option(
            help="none, bias, low-rank:RANK or full. Default: what the schedule was searched with, else full."
        ),
    ] = None,
    sampler: SamplerName = None,
    steps: Steps = 20,
    guidance: Guidance = 1.5,
    stages: Stages = 10,
    calibration: Annotated[
        Path | None, typer.Option(help="Calibration file of the search. Default: the cached one, or made now.")
    ] = None,
    calibration_images: CalibrationImages = None,
    calibration_data: CalibrationData = None,
    prompts: Prompts = None,
    damping: Damping = "auto",
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WxH",
            help="Size of images besides the model's own, such as 1216x832, where the model can; repeatable.",
        ),
    ] = None,
    decode_tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PIXELS",
            help="Decode larger images in tiles of so many pixels a side, as diffusers' enable_vae_tiling does: less"
            " memory. Default: whole.",
        ),
    ] = None,
    device: Device = "cpu",
    dtype: Annotated[
        str,
        typer.Option(
            help="What weights are stored and steps run in: float32, or for GPUs bfloat16 or float16, at half the size."
        ),
    ] = "float32",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Also compare every subgraph with torch on whole trajectories before the bundle appears"
            " (later, on any backend: diffes verify).",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Write a bundle: one blob of weights, and an ONNX subgraph per distinct stage plan reading prefixes of it."""
    from diffes.manifest import dtype_named
    from export.request import ExportRequest, run_export

    request = ExportRequest(
        model=model or bundled_model(),
        schedules=tuple(schedule or ()),
        out=out,
        target=target,
        compensation=compensation,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        stages=stages,
        calibration=calibration,
        calibration_images=calibration_images,
        calibration_data=calibration_data,
        prompts=prompts,
        sizes=tuple(size or ()),
        decode_tile=decode_tile,
        damping=damping,
        device=device,
        dtype=dtype_named(dtype),
        overwrite=force,
        verify=verify,
    )
    with progress_bars() as report:
        bundle = run_export(request, report)
    count = len(bundle.manifest.subgraphs)
    following = f"diffes inspect {out}" if target == "bundle" else f"tritonserver --model-repository {out}"
    console.print(f"wrote {out}: {count} subgraphs over one blob; next: {following}", soft_wrap=True)
