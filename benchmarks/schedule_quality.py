"""How far schedules take a model from its dense self: a table over schedules and compensations, on one device.

    python benchmarks/schedule_quality.py models/cifar10-dit --schedule uniform:0.375 --schedule out/schedule.json \
        --compensation none --compensation full -n 5000 --device cuda --out results.json

`--guidance` may be repeated: every schedule and the dense model are sampled at every scale, from the same noise, and
each one's best scale is reported. Schedules and calibration are made for the first. `--calibration-data` takes second
moments from noised images of a folder instead of the model's own trajectories.

Runs on the checkpoint in memory (no export), float32; `--tf32` lets a GPU round products to TF32 while sampling.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from diffes.bundled import bundled_features, bundled_model
from diffes.checkpoint import Checkpoint
from diffes.evaluation import Evaluation, GuidanceSweep, Protocol, Side, sweep
from diffes.files import write_text_atomically
from diffes.precision import full_float32, tf32
from diffes.presets import dense_schedule
from diffes.pruning.calibration import Calibration, CalibrationSpec, calibrate
from diffes.pruning.data import looking_at
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.pruning.spec import read_damping
from diffes.quality import FeatureExtractor
from diffes.sampling import trajectory
from diffes.schedule import Sampler, Schedule, StagePlan
from export.schedules import Defaults, default_sampler, read_schedules
from search.objectives import image_decoder


def main() -> None:
    """Evaluate every (schedule, compensation) pair and write one JSON."""
    options = _options()
    checkpoint = Checkpoint.open(options.model)
    extractor = FeatureExtractor.load(options.features, options.device)
    calibration = _calibrated(checkpoint, options)
    rows: list[dict[str, object]] = []
    best: list[dict[str, object]] = []
    for name, schedule in _schedules(checkpoint, options):
        began = time.perf_counter()
        with tf32() if options.tf32 else full_float32():
            found, weights = _evaluate(checkpoint, calibration, schedule, extractor, options)
        seconds = time.perf_counter() - began
        rows += [_row(name, schedule, scale, at, seconds, weights) for scale, at in found.evaluations.items()]
        best.append({"schedule": name, "compensation": schedule.compensation, **_bests(found)})
        document = _document(options, calibration.spec, rows, best)
        write_text_atomically(options.out, json.dumps(document, indent=1) + "\n")


def _row(
    name: str, schedule: Schedule, scale: float, found: Evaluation, seconds: float, weights: float
) -> dict[str, object]:
    """One line of the table, printed as it is found; `seconds` are of all scales of the schedule, `weights` a share."""
    print(  # noqa: T201
        f"{name:24} {schedule.compensation:11} removed {schedule.cost.macs_removed:.4f} guidance {scale:g}"
        f" FD {found.frechet_distance:.4f} MSE {found.mse:.5f} SSIM {found.ssim:.4f} acc {found.class_accuracy:.4f}"
        f" (dense {found.reference_class_accuracy:.4f}) FD data {found.frechet_to_data:.3f}"
        f" (dense {found.reference_frechet_to_data:.3f}) weights {weights:.3f} x {seconds:.1f} s",
        flush=True,
    )
    return {
        "schedule": name,
        "compensation": schedule.compensation,
        "guidance": scale,
        "macs_removed": schedule.cost.macs_removed,
        "weights_of_dense": weights,
        "seconds": seconds,
        **found.to_json(),
    }


def _bests(found: GuidanceSweep) -> dict[str, object]:
    document = found.bests()
    return {"pruned": document["best"], "dense": document["reference_best"]}


def _evaluate(
    checkpoint: Checkpoint,
    calibration: Calibration,
    schedule: Schedule,
    extractor: FeatureExtractor,
    options: argparse.Namespace,
) -> tuple[GuidanceSweep, float]:
    """The comparison, and the bytes of all weights that the schedule and dense read together, over dense's."""
    architecture = checkpoint.architecture
    if "ordering" not in schedule.provenance:  # of no search: the one that suits its compensation
        calibration = calibration.ordered_by(Compensation.parse(schedule.compensation).ordering)
    weights = checkpoint.weights()
    model = PrunedModel(architecture, weights, calibration, schedule.compensation, device=options.device)
    before = _bytes(model)
    sampler = schedule.sampler
    path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)

    decode = image_decoder(checkpoint, options.device, options.batch)

    def side(of: Schedule) -> Side[StagePlan]:
        return Side(model, [of.stages[of.stage_index(t)].blocks for t in path.timesteps], decode, model.device)

    classes = checkpoint.wording.classes(extractor.net.config.classes)
    examples, shape = checkpoint.wording.examples, architecture.latent_shape
    protocol = Protocol(path, sampler.guidance, shape, examples, classes, options.n, options.batch)
    dense = side(dense_schedule(checkpoint, sampler))
    found = sweep(side(schedule), dense, protocol, options.guidance, extractor)
    return found, _bytes(model) / before


def _bytes(model: PrunedModel) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.tensors.values())


def _schedules(checkpoint: Checkpoint, options: argparse.Namespace) -> Iterator[tuple[str, Schedule]]:
    for compensation in options.compensation:
        defaults = Defaults(_sampler(checkpoint, options), compensation=compensation)
        yield from read_schedules(checkpoint, options.schedule, defaults).items()


def _calibrated(checkpoint: Checkpoint, options: argparse.Namespace) -> Calibration:
    spec = CalibrationSpec(
        sampler=_sampler(checkpoint, options), images=options.calibration_images, damping=options.damping
    )
    if options.calibration and options.calibration.exists():
        return Calibration.load(options.calibration, checkpoint)
    spec = looking_at(spec, checkpoint, options.calibration_data)
    made = calibrate(checkpoint, spec, data=options.calibration_data, device=options.device)
    if options.calibration:
        made.save(options.calibration)
    return made


def _sampler(checkpoint: Checkpoint, options: argparse.Namespace) -> Sampler:
    return default_sampler(checkpoint, None, options.steps, options.guidance[0])


def _document(
    options: argparse.Namespace, spec: CalibrationSpec, rows: list[dict[str, object]], best: list[dict[str, object]]
) -> dict[str, object]:
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else platform.processor()
    return {
        "command": " ".join(sys.argv),
        "device": device,
        "torch": torch.__version__,
        "tf32": options.tf32,
        "steps": options.steps,
        "guidance": options.guidance,
        "damping": spec.damping,
        "moments": "trajectories" if spec.source == "trajectories" else "noised data",
        "calibration_images": spec.images,
        "rows": rows,
        "best": best,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--features", type=Path, default=None)
    parser.add_argument("--schedule", action="append", required=True)
    parser.add_argument("--compensation", action="append", default=None)
    parser.add_argument("-n", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, action="append", default=None, help="default: 1.5")
    parser.add_argument("--calibration", type=Path, default=None, help="file to read, or to write if there is none")
    parser.add_argument("--calibration-images", type=int, default=128, help="of a calibration that is not read")
    parser.add_argument("--calibration-data", type=Path, default=None, help="folder of images to take moments from")
    parser.add_argument("--damping", type=read_damping, default="auto", help="auto or a share of the mean variance")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.model = options.model or bundled_model()
    options.features = options.features or bundled_features()
    options.compensation = options.compensation or ["full"]
    options.guidance = options.guidance or [1.5]
    return options


if __name__ == "__main__":
    main()
