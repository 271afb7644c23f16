"""A request inside the engine: its path, its images between steps, its answer."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from diffes.engine.batch import BatchKey
from diffes.engine.observer import StageOf
from diffes.engine.path import Path
from diffes.engine.request import ResolvedRequest, Result, StageTiming, Timings
from diffes.sampling import Step


@dataclass(slots=True)
class _StageClock:
    steps: int = 0  # denoiser calls this request took part in
    seconds: float = 0.0
    images: int = 0  # summed over those calls


@dataclass(eq=False, slots=True)
class Job:
    """One admitted or waiting request. The engine's thread alone changes it; `future` is the caller's end."""

    request: ResolvedRequest
    path: Path
    future: Future[Result] = field(default_factory=Future)
    arrived: float = field(default_factory=perf_counter)
    admitted: float = 0.0
    conditions: dict[str, Tensor] = field(default_factory=dict)  # each [1 or 2 (unconditional), steps, ...]
    decoded: dict[int, Tensor] = field(default_factory=dict)  # image index -> [3, H, W]
    clocks: dict[int, _StageClock] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """Whether nobody waits for this request any more."""
        return self.future.done()

    def note(self, stages: Iterable[int], seconds: float, images: int) -> None:
        """Count one denoiser call for each stage in which images of this request stood."""
        for stage in stages:
            clock = self.clocks.setdefault(stage, _StageClock())
            clock.steps += 1
            clock.seconds += seconds
            clock.images += images

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless the caller has left."""
        if not self.gone and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def finish_if_complete(self) -> None:
        """Answer with the images in order, once all are decoded."""
        if len(self.decoded) < self.request.images or self.gone:
            return
        images = torch.stack([self.decoded[index] for index in range(self.request.images)])
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(Result(images, self.request, self._timings()))

    def _timings(self) -> Timings:
        stages = self.path.route.stages
        return Timings(
            queue_seconds=self.admitted - self.arrived,
            total_seconds=perf_counter() - self.arrived,
            stages=tuple(
                StageTiming(stage, stages.count(stage), clock.seconds, clock.images / clock.steps)
                for stage, clock in sorted(self.clocks.items())
            ),
        )


@dataclass(eq=False, slots=True)
class ImageState:
    """One image between two steps: latents and last x0 [C, h, w] float32, and the index of its next step."""

    job: Job
    index: int  # in its request
    latents: Tensor
    clean: Tensor
    step: int = 0

    @property
    def done(self) -> bool:
        """Whether every step is taken."""
        return self.step == len(self.job.path.keys)

    @property
    def key(self) -> BatchKey:
        """What its next step needs."""
        return self.job.path.keys[self.step]

    @property
    def at(self) -> Step:
        """The coefficients of its next step."""
        return self.job.path.trajectory.steps[self.step]

    @property
    def stage(self) -> StageOf:
        """The stage of its next step."""
        return StageOf(self.job.request.schedule, self.job.path.route.stages[self.step])
