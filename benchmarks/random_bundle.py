"""A model of full size with random weights, and a bundle of it: enough to measure speed and memory, and nothing else.

python benchmarks/random_bundle.py dit-xl-2-256 out/dit-xl          # writes out/dit-xl/model and out/dit-xl/bundle
python benchmarks/random_bundle.py sdxl out/sdxl --guidance 5
python benchmarks/random_bundle.py models/cifar10-dit out/cifar10   # a bundle like it of a model that is there
"""

import argparse
from pathlib import Path

import rich.progress
import torch
from random_models import WRITERS, write_random_model

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.manifest import DtypeName, dtype_named
from diffes.presets import build_schedule, uniform_schedule
from diffes.pruning.calibration import Calibration, CalibrationSpec
from diffes.pruning.moments import Moments
from diffes.schedule import Sampler, Schedule, StagePlan
from export.job import export_bundle


def schedules_of(checkpoint: Checkpoint, guidance: float) -> dict[str, Schedule]:
    """Three schedules by name.

    `half` is 50 % everywhere; `ten` has ten stages of all widths, `uneven` ten that lose about half on average. No two
    stages of these are alike.
    """
    sampler = Sampler(class_name=str(checkpoint.scheduler_config["_class_name"]), steps=20, guidance=guidance)
    grid = LevelGrid.of(checkpoint.architecture.dense)
    plans = [grid.plan(level, level) for level in range(min(10, grid.parts))]
    return {
        "half": uniform_schedule(checkpoint, sampler, 0.5, 10, "none"),
        "ten": build_schedule(checkpoint, sampler, plans, "none", {"made_by": "benchmark"}),
        "uneven": build_schedule(checkpoint, sampler, uneven_plans(grid), "none", {"made_by": "benchmark"}),
    }


def write_random_bundle(
    checkpoint: Checkpoint, schedules: dict[str, Schedule], out: Path, dtype: DtypeName, *, verify: bool = True
) -> Bundle:
    """Write a bundle of these schedules; the first is its default."""
    with rich.progress.Progress() as bars:
        task = bars.add_task("exporting", total=1)

        def tell(what: str, share: float) -> None:
            bars.update(task, description=what, completed=share)

        return export_bundle(
            checkpoint,
            schedules,
            next(iter(schedules)),
            as_stored(checkpoint),
            out,
            dtype=dtype,
            overwrite=True,
            verify=verify,
            progress=tell,
        )


def uneven_plans(grid: LevelGrid) -> list[StagePlan]:
    """Ten plans of which no two are alike: at most two levels to either side of one half, and half on average."""
    half = grid.parts // 2
    aside = [(-2, 2), (2, -2), (-1, 1), (1, -1), (0, 0), (1, 1), (-1, -1), (2, 1), (-2, -1), (0, 1)]
    return [grid.plan(half + heads, half + channels) for heads, channels in aside]


def as_stored(checkpoint: Checkpoint) -> Calibration:
    """The order units happen to have: of random ones none matters more. Without moments, for none are asked for."""
    order = {layer.projection: torch.arange(layer.units) for layer in checkpoint.architecture.layers}
    spec = CalibrationSpec(Sampler(class_name="DDIMScheduler", steps=20, guidance=1.5))
    return Calibration(
        checkpoint.identity.fingerprint,
        spec,
        {spec.ordering: order},
        Moments({}, {}, 0),
        {},
        checkpoint.architecture,
    )


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help=f"one of {', '.join(WRITERS)} to write it with random weights, or a folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--schedule", action="append", choices=["half", "ten", "uneven"], help="default: all")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not run the graphs: minutes less")
    options = parser.parse_args()
    folder = Path(options.model)
    if options.model in WRITERS:
        folder = options.out / "model"
        write_random_model(options.model, folder)
    checkpoint = Checkpoint.open(folder)
    made = schedules_of(checkpoint, options.guidance)
    schedules = {name: made[name] for name in options.schedule or made}
    out, dtype = options.out / "bundle", dtype_named(options.dtype)
    write_random_bundle(checkpoint, schedules, out, dtype, verify=options.verify)


if __name__ == "__main__":
    main()
