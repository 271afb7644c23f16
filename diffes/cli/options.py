"""Options that several verbs share: one meaning, one help text."""

from pathlib import Path
from typing import Annotated

import typer

BUDGET = "SHARE|LOW:HIGH"  # how a budget is asked for
Model = Annotated[
    Path | None, typer.Argument(help="Model folder in diffusers layout. Default: the bundled CIFAR-10 DiT.")
]
BundleFolder = Annotated[Path, typer.Argument(help="Folder written by `diffes export`.")]
Steps = Annotated[int, typer.Option(min=1, help="Sampler steps the schedule is made for.")]
Guidance = Annotated[float, typer.Option(min=0, help="Guidance scale; 0, or 1, runs without the unconditional rows.")]
SamplerName = Annotated[str | None, typer.Option(help="diffusers scheduler class. Default: the model's own.")]
Stages = Annotated[int, typer.Option(min=1, help="Stages of equal length the trajectory is split into.")]
Compensation = Annotated[
    str, typer.Option(help="How outputs make up for what was removed: none, bias, low-rank:RANK or full.")
]
DEVICE = "Torch device: cpu, cuda, cuda:1, ..."
Device = Annotated[str, typer.Option(help=DEVICE)]
BACKEND = (
    "What runs the subgraphs: onnxruntime, torch, tensorrt (on a GPU), or triton (--device is its server's HOST:PORT)."
)
BackendName = Annotated[str, typer.Option(help=BACKEND)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")]
CalibrationImages = Annotated[
    int | None, typer.Option(min=1, help="Images the dense model is watched on to order and compensate. Default: 64.")
]
Damping = Annotated[
    str, typer.Option(help="Ridge of the least squares, a share of the mean variance; auto: by held-out error.")
]
CalibrationData = Annotated[
    Path | None, typer.Option(help="Folder of images to calibrate on, noised. Default: the model's own trajectories.")
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="File of prompts, one a line, for a model that reads texts. Default: the model folder's prompts.txt, or"
        " the ones shipped with Diffes."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ScheduleName = Annotated[str | None, typer.Option(help="Which of the bundle's schedules. Default: the bundle's.")]
