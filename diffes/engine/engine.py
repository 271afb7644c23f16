"""The loop that owns a backend: images of many requests, each step of them batched by subgraph.

Callers submit from any thread and hold a future; cancelling it drops the request before its next step. One thread
admits, chooses, denoises and decodes.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from threading import Thread
from time import perf_counter

from torch import Tensor

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.admission import Forecast, OfferedLoad, require_time
from diffes.engine.costs import StepCosts
from diffes.engine.job import ImageState, Job
from diffes.engine.observer import Ending, Observer, Outcome, Silent, StepReport
from diffes.engine.path import find_path
from diffes.engine.policies import DEFAULT, scheduler_named
from diffes.engine.queue import BoundedQueue
from diffes.engine.request import Limits, Listener, Request, Result, resolve
from diffes.engine.scheduling import Scheduler, Situation
from diffes.engine.step import condition, decode, start, take_step
from diffes.errors import DiffesError, EngineError, Expired, FailureReason, Overloaded

logger = logging.getLogger(__name__)


class Engine:
    """Serves requests on one backend, which it owns from `start` to `close`."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        limits: Limits | None = None,
        observer: Observer | None = None,
        *,
        costs: StepCosts | None = None,
        scheduler: Scheduler | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`costs` are what forecasts are made of, and the default scheduler's choices; without, a step is taken to cost
        the same for many as for one. `clock` tells seconds.
        """
        self.bundle = bundle
        self.limits = limits or Limits()
        self._backend = backend
        self._observer: Observer = observer or Silent()
        self._clock = clock
        self._costs = costs or StepCosts({})
        self._scheduler = scheduler or scheduler_named(DEFAULT, self._costs, self.limits.batch)
        self._forecast = Forecast(self._costs, self.limits.batch)
        self._load = OfferedLoad()
        self._queue: BoundedQueue[Job] = BoundedQueue(self.limits.queue, gone=lambda job: job.gone)
        self._jobs: dict[str, Job] = {}  # that are not done, by request id
        self._running: list[ImageState] = []  # in order of admission; replaced, never changed in place
        self._stopping = False
        self._path = lru_cache(maxsize=256)(partial(find_path, bundle))
        self._thread = Thread(target=self._run, name="diffes-engine", daemon=True)

    def start(self) -> None:
        """Start the thread that serves what was and will be submitted."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """Queue a request from any thread; `listener` hears of its steps.

        InvalidInput names the field that is wrong; Overloaded if the queue is full or the forecast too long;
        EngineError if closed. The future ends in a Result, or in the error of this request; cancelling it frees its
        place.
        """
        resolved = resolve(request, self.bundle, self.limits)
        path = self._path(resolved.schedule, resolved.steps, resolved.guidance != 1)
        job = Job(resolved, path, self._clock(), listener)
        try:
            require_time(job, self.limits, self.backlog_seconds(), self._forecast.own(job))
            if resolved.id:
                self._jobs[resolved.id] = job
            job.future.add_done_callback(lambda _: self._ended(job))
            self._queue.put(job)
        except DiffesError as error:
            self._jobs.pop(resolved.id, None)
            if isinstance(error, Overloaded):
                self._observer.finished(Ending(resolved, "rejected", job.timings(self._clock()), 0, error.reason))
            raise
        self._load.add(self._forecast.work(job), job.arrived)
        self._report_load()
        return job.future

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step; False if none of that id is inside."""
        job = self._jobs.get(request_id)
        if job is not None:
            job.withdrawn = True
        return job is not None and job.future.cancel()

    def backlog_seconds(self) -> float:
        """Forecast of the time that all steps now in the engine will take."""
        return self._forecast.seconds(self._queue.waiting(), self._running)

    def close(self, *, drain: bool = True) -> None:
        """Refuse new requests; answer those inside, or with `drain=False` fail them; then free the backend."""
        self._stopping = not drain
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join()
        self._fail_everything(EngineError("the engine was closed before the request was done", remedy="Send it again."))
        self._backend.close()

    def step(self) -> None:
        """One turn: who left, who comes in, which images go together, one step of them, which are finished."""
        self._drop_expired()
        self._running = [image for image in self._running if not image.job.gone]
        self._admit()
        batch = self._choose()
        self._denoise(batch)
        self._show([image for image in batch if not image.job.gone])
        self._finish([image for image in batch if image.done and not image.job.gone])
        self._running = [image for image in self._running if not image.done and not image.job.gone]
        self._report_load()

    def _run(self) -> None:
        try:
            while not self._stopping and (self._running or self._queue.wait()):
                self.step()
        except Exception:
            logger.exception("the engine stopped on an error of its own")
        finally:
            self._queue.close()
            self._fail_everything(
                EngineError("the engine stopped before the request was done", remedy="Send it again.")
            )

    def _drop_expired(self) -> None:
        now = self._clock()
        for job in [*self._queue.waiting(), *dict.fromkeys(image.job for image in self._running)]:
            if job.due <= now:
                limit, seconds = f"{job.request.timeout:g} seconds", f"{now - job.arrived:.3g} seconds"
                job.fail(Expired("the request was not done in time", expected=limit, found=seconds))

    def _admit(self) -> None:
        """Take requests in while there is room; one that is larger than the room waits for an empty engine."""
        while job := self._queue.take(self._fits):
            job.admitted = self._clock()
            self._observer.admitted(job.admitted - job.arrived)
            try:
                job.conditions = condition(self._backend, job, self.bundle.architecture.classes)
                self._observer.conditioned(self._clock() - job.admitted)
                self._running = [*self._running, *start(job)]
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this request alone ends
                job.fail(_failure("the condition failed", error, "condition"))

    def _fits(self, job: Job) -> bool:
        images = len(self._running) + job.request.images
        held = sum(other.path.conditions for other in {image.job for image in self._running})
        room = images <= self.limits.running and held + job.path.conditions <= self.limits.conditions
        return room or not self._running

    def _choose(self) -> list[ImageState]:
        now = self._clock()
        waiting = sum(job.request.images for job in self._queue.waiting())
        batch = self._scheduler.choose(self._running, Situation(now, waiting, self._load.share(now)))
        going = set(map(id, batch))
        for image in self._running:
            image.passed_over = 0 if id(image) in going else image.passed_over + 1
        return batch

    def _denoise(self, batch: Sequence[ImageState]) -> None:
        if not batch:
            return
        standing = [(image.job, image.stage) for image in batch]
        key = batch[0].key
        began = self._clock()
        try:
            unsound = take_step(self._backend, batch)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this batch alone ends
            for job, stage in standing:
                job.fail(_failure(f"stage {stage.stage} failed on subgraph {key.subgraph}", error, "step"))
            return
        seconds = self._clock() - began
        for image in unsound:
            where = f"stage {image.stage.stage} failed on subgraph {key.subgraph}"
            image.job.fail(EngineError(where, reason="not_finite", expected="finite values", found="NaN or infinity"))
        for job in {image.job for image in batch}:
            job.note({stage.stage for other, stage in standing if other is job}, began, seconds, len(batch))
        rows = key.rows(len(batch))
        self._costs.observe(key.subgraph, rows, seconds)
        stages = Counter(stage for _, stage in standing)
        report = StepReport(key.subgraph, tuple(stages), len(batch), rows, seconds, tuple(stages.values()))
        self._observer.stepped(report)

    def _show(self, images: Sequence[ImageState]) -> None:
        """Tell callers who listen how far their images are, and what they will be."""
        for image in images:
            image.tell_progress()
        shown = [image for image in images if image.preview_index is not None]
        for image, pixels in self._decoded(shown, [image.clean for image in shown]):
            image.tell_preview(pixels)

    def _finish(self, images: Sequence[ImageState]) -> None:
        for image, pixels in self._decoded(images, [image.latents for image in images]):
            image.job.decoded[image.index] = pixels
            image.job.finish_if_complete(self._clock())

    def _decoded(self, images: Sequence[ImageState], latents: Sequence[Tensor]) -> list[tuple[ImageState, Tensor]]:
        """Each image with its latents' pixels; none if the decoder fails, which ends these requests alone."""
        if not images:
            return []
        began = self._clock()
        try:
            pixels = decode(self._backend, latents)
            self._observer.decoded(len(images), self._clock() - began)
            return list(zip(images, pixels, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises
            for image in images:
                image.job.fail(_failure("the decoder failed", error, "decode"))
            return []

    def _fail_everything(self, error: EngineError) -> None:
        for job in [*self._queue.waiting(), *(image.job for image in self._running)]:
            job.fail(error)
        self._running = []

    def _ended(self, job: Job) -> None:
        self._jobs.pop(job.request.id, None)
        ending = Ending(job.request, _outcome(job), job.timings(self._clock()), job.steps, _reason(job))
        self._observer.finished(ending)

    def _report_load(self) -> None:
        self._observer.load(waiting=len(self._queue.waiting()), running=len(self._running))


def _failure(what: str, error: Exception, reason: FailureReason) -> EngineError:
    failure = EngineError(what, reason=reason, expected="an output", found=f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _outcome(job: Job) -> Outcome:
    if job.future.cancelled():
        return "cancelled"
    error = job.future.exception()
    if isinstance(error, Expired):
        return "expired"
    return "failed" if error else "done"


def _reason(job: Job) -> str:
    if job.future.cancelled():
        return "withdrawn" if job.withdrawn else "left"
    error = job.future.exception()
    return error.reason if isinstance(error, EngineError) else ""
