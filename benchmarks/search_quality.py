"""Schedules' images against the dense model's, which are sampled once for all of them."""

from pathlib import Path
from typing import Any

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError
from diffes.evaluation import Evaluation, Protocol, Recorded, Side, evaluate
from diffes.pruning.cache import calibration_for
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.quality import FeatureExtractor
from diffes.sampling import trajectory
from diffes.schedule import Sampler, Schedule, StagePlan
from search.objectives import image_decoder
from search.options import SearchOptions


class Judge:
    """Compares schedules of one calibration and compensation with the dense model over the same N images, float32."""

    def __init__(self, checkpoint: Checkpoint, features: Path, device: str, images: int, batch: int) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._images, self._batch = images, batch
        self._extractor = FeatureExtractor.load(features, device)
        self._decode = image_decoder(checkpoint, device, batch)
        self._models: dict[str, tuple[Calibration, PrunedModel, Recorded]] = {}

    def __call__(self, options: SearchOptions, document: dict[str, Any]) -> Evaluation:
        """How far the schedule's images are from dense; ScheduleError if its ordering is not the one at hand."""
        schedule = Schedule.model_validate(document)
        calibration, model, dense = self._known(options, schedule)
        found = schedule.provenance.get("ordering")
        if found != calibration.ordering_digest:
            raise ScheduleError(
                "the schedule was searched with another calibration",
                expected=f"ordering {found}",
                found=calibration.ordering_digest,
                remedy="Bring the calibration it was searched with, or search it again.",
            )
        protocol = self._protocol(schedule.sampler)
        stages = [schedule.stage_index(timestep) for timestep in protocol.path.timesteps]
        side = Side(model, [schedule.stages[stage].blocks for stage in stages], self._decode, model.device)
        return evaluate(side, dense, protocol, self._extractor)

    def _known(self, options: SearchOptions, schedule: Schedule) -> tuple[Calibration, PrunedModel, Recorded]:
        spec = options.calibration_spec(self._checkpoint)
        key = f"{spec.digest(self._checkpoint.identity.fingerprint)} {schedule.compensation} {schedule.sampler}"
        if key not in self._models:
            data = Path(options.calibration_data) if options.calibration_data else None
            calibration = calibration_for(self._checkpoint, spec, data=data, device=self._device)
            architecture, weights = self._checkpoint.architecture, self._checkpoint.weights()
            model = PrunedModel(architecture, weights, calibration, schedule.compensation, device=self._device)
            keys: list[StagePlan] = [model.architecture.dense] * schedule.sampler.steps
            self._models[key] = calibration, model, Recorded(Side(model, keys, self._decode, model.device))
        return self._models[key]

    def _protocol(self, sampler: Sampler) -> Protocol:
        path = trajectory(sampler.class_name, self._checkpoint.scheduler_config, sampler.steps)
        shape, prompts = self._checkpoint.architecture.latent_shape, self._checkpoint.wording.examples
        classes = self._checkpoint.wording.classes(self._extractor.net.config.classes)
        return Protocol(path, sampler.guidance, shape, prompts, classes, self._images, self._batch)
