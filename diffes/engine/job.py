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
    conditions: dict[str, list[tuple[Tensor, ...]]] = field(default_factory=dict)  # [branch][step], the rows of calls
    constants: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)  # conditions of all steps: [branch]
    coefficients: tuple[Tensor, ...] = ()  # of each step [8]: of what enters the denoiser, guidance, the six of advance
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

    def preview_after(self, step: int) -> int | None:
        """Which preview the caller is to see after so many steps, if any."""
        wanted = self.path.preview_steps(self.request.previews) if self.request.previews else ()
        return wanted.index(step) if self.listener is not None and step in wanted else None

    def tell(self, event: Progress | Preview) -> None:
        """To who listens."""
        if self.listener is not None:
            self.listener(event)

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
    def request(self) -> object:
        """Whose it is."""
        return self.job

    @property
    def alone(self) -> bool:
        """Whether it shares its steps with nobody."""
        return self.job.request.deterministic

    @property
    def due(self) -> float:
        """When its caller's time is over."""
        return self.job.due

    @property
    def coefficients(self) -> Tensor:
        """Of its next step."""
        return self.job.coefficients[self.step]

    @property
    def stage(self) -> StageOf:
        """The stage of its next step."""
        return StageOf(self.job.request.schedule, self.job.path.route.stages[self.step])
