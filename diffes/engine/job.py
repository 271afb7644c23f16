"""A request inside the engine: its path, its images between steps, what its caller is told."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from diffes.engine.observer import StageOf
from diffes.engine.path import Path
from diffes.engine.request import Listener, Preview, Progress, ResolvedRequest, Result, StageTiming, Timings
from diffes.engine.scheduling import BatchKey
from diffes.sampling import Step


@dataclass(slots=True)
class _StageClock:
    steps: int = 0  # denoiser calls this request took part in
    seconds: float = 0.0
    images: int = 0  # summed over those calls
    began: float = inf
    ended: float = 0.0


@dataclass(eq=False, slots=True)
class Job:
    """One admitted or waiting request. The engine's thread alone changes it; `future` is the caller's end.

    Times are seconds on the engine's clock.
    """

    request: ResolvedRequest
    path: Path
    arrived: float
    listener: Listener | None = None
    future: Future[Result] = field(default_factory=Future)
    admitted: float = inf
    steps: int = 0  # that its images have taken, each counted
    withdrawn: bool = False  # by its id
    conditions: dict[str, Tensor] = field(default_factory=dict)  # each [1 or 2 (unconditional), steps, ...]
    decoded: dict[int, Tensor] = field(default_factory=dict)  # image index -> [3, H, W]
    clocks: dict[int, _StageClock] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """Whether nobody waits for this request any more."""
        return self.future.done()

    @property
    def due(self) -> float:
        """When its caller's time is over."""
        return self.arrived + self.request.timeout

    def note(self, stages: Iterable[int], began: float, seconds: float, images: int) -> None:
        """Count one denoiser call for each stage in which images of this request stood."""
        for stage in stages:
            clock = self.clocks.setdefault(stage, _StageClock())
            clock.seconds += seconds
            clock.images += images
            clock.began, clock.ended = min(clock.began, began), began + seconds
            clock.steps += 1  # last: a caller who leaves reads them from another thread

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless the caller has left."""
        if not self.gone and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def finish_if_complete(self, now: float) -> None:
        """Answer with the images in order, once all are decoded."""
        if len(self.decoded) < self.request.images or self.gone:
            return
        images = torch.stack([self.decoded[index] for index in range(self.request.images)])
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(Result(images, self.request, self.timings(now)))

    def timings(self, now: float) -> Timings:
        """Where its time went until now."""
        return Timings(
            queue_seconds=min(self.admitted, now) - self.arrived,
            total_seconds=now - self.arrived,
            stages=tuple(self._timing(stage, clock) for stage, clock in sorted(self.clocks.items()) if clock.steps),
        )

    def _timing(self, stage: int, clock: _StageClock) -> StageTiming:
        stages = self.path.route.stages
        return StageTiming(
            stage=stage,
            subgraph=self.path.keys[stages.index(stage)].subgraph,
            steps=min(clock.steps, stages.count(stage)),  # images of a request may take the same step apart
            seconds=clock.seconds,
            mean_batch=clock.images / clock.steps,
            began=clock.began - self.arrived,
            ended=clock.ended - self.arrived,
        )


@dataclass(eq=False, slots=True)
class ImageState:
    """One image between two steps: latents and last x0 [C, h, w] float32, and the index of its next step."""

    job: Job
    index: int  # in its request
    latents: Tensor
    clean: Tensor
    step: int = 0
    passed_over: int = 0  # steps of others since its last one

    @property
    def done(self) -> bool:
        """Whether every step is taken."""
        return self.step == len(self.keys)

    @property
    def keys(self) -> tuple[BatchKey, ...]:
        """What each of its steps needs."""
        return self.job.path.keys

    @property
    def key(self) -> BatchKey:
        """What its next step needs."""
        return self.job.path.keys[self.step]

    @property
    def alone(self) -> bool:
        """Whether it shares its steps with nobody."""
        return self.job.request.deterministic

    @property
    def due(self) -> float:
        """When its caller's time is over."""
        return self.job.due

    @property
    def preview_index(self) -> int | None:
        """Which preview its caller is to see now, if any."""
        wanted = self.job.path.preview_steps(self.job.request.previews) if self.job.request.previews else ()
        return wanted.index(self.step) if self.job.listener is not None and self.step in wanted else None

    def tell_progress(self) -> None:
        """The last step is taken."""
        if self.job.listener is not None:
            stage = self.job.path.route.stages[self.step - 1]
            self.job.listener(Progress(self.index, self.step, len(self.keys), stage))

    def tell_preview(self, pixels: Tensor) -> None:
        """What the image would be by now, [3, H, W]."""
        index = self.preview_index
        if self.job.listener is not None and index is not None:
            self.job.listener(Preview(self.index, index, pixels))

    @property
    def at(self) -> Step:
        """The coefficients of its next step."""
        return self.job.path.trajectory.steps[self.step]

    @property
    def stage(self) -> StageOf:
        """The stage of its next step."""
        return StageOf(self.job.request.schedule, self.job.path.route.stages[self.step])
