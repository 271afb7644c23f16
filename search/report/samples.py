"""Images of three schedules from the same noise: dense, uniform and searched, of a front one in its middle."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.precision import dtype_of, rounding
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.quality import mean_squared_error, structural_similarity
from diffes.quality.similarity import WINDOW
from diffes.rollout import initial_state, seeded_noise, step
from diffes.sampling import trajectory
from diffes.schedule import Schedule, StagePlan
from search.genome import GenomeSpace
from search.objectives import image_decoder
from search.report.record import Answer, Record

Progress = Callable[[float], None]
_BATCH = 16  # images at once


@dataclass(frozen=True)
class Difference:
    """One image beside the dense model's: mean squared error of pixels in [-1, 1], and structural similarity, None
    for images smaller than its window."""

    mse: float
    ssim: float | None


@dataclass(frozen=True)
class Samples:
    """`images` [N, C, H, W] in [-1, 1] by schedule; image i is of `labels[i]` and from the noise of seed `seeds[i]`."""

    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    images: Mapping[str, Tensor]

    def differences(self, name: str) -> list[Difference]:
        """One schedule's images beside the dense ones."""
        pairs = zip(self.images[name].split(1), self.images["dense"].split(1), strict=True)
        return [
            Difference(
                mean_squared_error(ours, dense),
                structural_similarity(ours, dense) if min(ours.shape[-2:]) >= WINDOW else None,
            )
            for ours, dense in pairs
        ]


def draw_samples(
    record: Record, checkpoint: Checkpoint, images: int, device: str = "cpu", progress: Progress = lambda _: None
) -> Samples:
    """At most `images` images, one a label, of the dense, the uniform and the searched schedule of a finished search;
    of a front its middle point, and no uniform one where none was compared.

    Image i starts from the noise of seed i, as `diffes generate` does. ScheduleError or SearchError if the search was
    of another model or its calibration is not the schedule's; `progress` is told the share done.
    """
    found = record.found
    assert found is not None
    schedule = found.schedule if isinstance(found, Answer) else found.pareto.points[found.middle].schedule
    schedule.require_fit(checkpoint.identity, checkpoint.architecture.dense, checkpoint.train_timesteps)
    model = _model(record, checkpoint, schedule, device)
    count = min(images, len(checkpoint.wording.names))
    plans: dict[str, list[StagePlan]] = {"dense": [checkpoint.architecture.dense] * record.options.stages}
    plans |= _uniform(record, checkpoint) | {"searched": _plans(schedule)}
    decode = image_decoder(checkpoint, device, _BATCH)
    drawn = {}
    for number, (name, stages) in enumerate(plans.items()):

        def tell(share: float, number: int = number) -> None:
            progress((number + share) / len(plans))

        with rounding(record.options.dtype):
            latents = _latents(model, checkpoint, schedule, stages, count, tell)
        drawn[name] = decode(latents).float().cpu()
    return Samples(tuple(checkpoint.wording.names[:count]), tuple(range(count)), drawn)


def _uniform(record: Record, checkpoint: Checkpoint) -> dict[str, list[StagePlan]]:
    found, options = record.found, record.options
    if isinstance(found, Answer):
        dense = checkpoint.architecture.dense
        space = GenomeSpace.of(dense, options.stages, options.genes, options.widths, options.depth)
        return {"uniform": space.plans(found.log.uniform.genome)}
    return {"uniform": _plans(found.uniform.schedule)} if found is not None and found.uniform is not None else {}


def _plans(schedule: Schedule) -> list[StagePlan]:
    return [stage.blocks for stage in schedule.stages]


def _model(record: Record, checkpoint: Checkpoint, schedule: Schedule, device: str) -> PrunedModel:
    calibration = Calibration.load(record.calibration, checkpoint)
    wanted = schedule.provenance.get("ordering")
    if calibration.ordering_digest != wanted:
        raise SearchError(
            f"{record.calibration} is not the calibration of this search",
            expected=f"ordering {wanted}",
            found=calibration.ordering_digest,
            remedy="Give the folder as the search left it.",
        )
    architecture, dtype = checkpoint.architecture, dtype_of(record.options.dtype)
    weights = checkpoint.weights()
    return PrunedModel(architecture, weights, calibration, schedule.compensation, device=device, dtype=dtype)


def _latents(
    model: PrunedModel,
    checkpoint: Checkpoint,
    schedule: Schedule,
    plans: Sequence[StagePlan],
    count: int,
    progress: Progress,
) -> Tensor:
    sampler, examples = schedule.sampler, checkpoint.wording.examples.to(model.device)
    path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)
    keys = [plans[schedule.stage_index(timestep)] for timestep in path.timesteps]
    parts = []
    for start in range(0, count, _BATCH):
        seeds = range(start, min(start + _BATCH, count))
        noise = seeded_noise(seeds, checkpoint.architecture.latent_shape).to(model.device)
        encoded = model.encode(examples.in_turn(seeds).branches(sampler.guidance))
        state = initial_state(path, noise)
        for key in keys:
            state = step(model, key, path, state, encoded, sampler.guidance)
            progress((start + len(seeds) * state.index / len(keys)) / count)
        parts.append(state.latents)
    return torch.cat(parts)
