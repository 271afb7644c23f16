"""The loop that owns a backend: images of many requests, each step of them batched by subgraph.

Callers submit from any thread and hold a future; cancelling it drops the request before its next step. One thread
admits, chooses, denoises and decodes.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from math import inf
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
from diffes.errors import Closed, DiffesError, EngineError, Expired, Overloaded

_LAST_TURN = 5.0  # seconds for the turn that a limit falls into

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
        self._turn_began = inf  # on the clock; infinity between two turns
        self._path = lru_cache(maxsize=256)(partial(find_path, bundle))
        self._thread = Thread(target=self._run, name="diffes-engine", daemon=True)

    def start(self) -> None:
        """Start the thread that serves what was and will be submitted."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    @property
    def heartbeat(self) -> float:
        """Seconds since the engine's thread began the turn it is in; 0 while it is idle."""
        return max(0.0, self._clock() - self._turn_began)

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """Queue a request from any thread; `listener` hears of its steps.

        InvalidInput names the field that is wrong; Overloaded if the queue is full or the forecast too long;
        Closed if closed. The future ends in a Result, or in the error of this request; cancelling it frees its
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
                self._observer.finished(Ending(resolved.schedule, "rejected", 0.0, 0, error.reason))
            raise
        self._load.add(self._forecast.work(job), job.arrived)
        self._report_load()
        return job.future

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step; False if none of that id is inside."""
        job = self._jobs.get(request_id)
        return job is not None and job.future.cancel()

    def backlog_seconds(self) -> float:
        """Forecast of the time that all steps now in the engine will take."""
        return self._forecast.seconds(self._queue.waiting(), self._running)

    def close(self, *, drain: bool = True, limit: float | None = None) -> None:
        """Refuse new requests; answer those inside, for at most `limit` seconds, and fail the rest with Closed.

        With `drain=False` all are failed. Then the backend is freed, unless a step hangs in it.
        """
        self._stopping = not drain
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(limit)
            self._stopping = True
            self._thread.join(None if limit is None else _LAST_TURN)
        self._fail_everything(_closed())
        if not self._thread.is_alive():
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
                self._turn_began = self._clock()
                self.step()
                self._turn_began = inf
        except Exception:
            logger.exception("the engine stopped on an error of its own")
        finally:
            self._queue.close()
            stopped = EngineError("the engine stopped before the request was done", remedy="Send it again.")
            self._fail_everything(_closed() if self._stopping else stopped)

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
                self._running = [*self._running, *start(job)]
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this request alone ends
                job.fail(_failure("the condition failed", error))

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
                job.fail(_failure(f"stage {stage.stage} failed on subgraph {key.subgraph}", error))
            return
        seconds = self._clock() - began
        for image in unsound:
            where = f"stage {image.stage.stage} failed on subgraph {key.subgraph}"
            image.job.fail(EngineError(where, expected="finite values", found="NaN or infinity"))
        for job in {image.job for image in batch}:
            job.note({stage.stage for other, stage in standing if other is job}, seconds, len(batch))
        rows = key.rows(len(batch))
        self._costs.observe(key.subgraph, rows, seconds)
        stages = tuple(dict.fromkeys(stage for _, stage in standing))
        self._observer.stepped(StepReport(key.subgraph, stages, len(batch), rows, seconds))

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
        try:
            return list(zip(images, decode(self._backend, latents), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises
            for image in images:
                image.job.fail(_failure("the decoder failed", error))
            return []

    def _fail_everything(self, error: EngineError) -> None:
        for job in [*self._queue.waiting(), *(image.job for image in self._running)]:
            job.fail(error)
        self._running = []

    def _ended(self, job: Job) -> None:
        self._jobs.pop(job.request.id, None)
        seconds = self._clock() - job.arrived
        self._observer.finished(Ending(job.request.schedule, _outcome(job), seconds, job.steps))

    def _report_load(self) -> None:
        self._observer.load(waiting=len(self._queue.waiting()), running=len(self._running))


def _closed() -> Closed:
    return Closed("the engine was closed before the request was done", remedy="Send it again.")


def _failure(what: str, error: Exception) -> EngineError:
    failure = EngineError(what, expected="an output", found=f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _outcome(job: Job) -> Outcome:
    if job.future.cancelled():
        return "cancelled"
    error = job.future.exception()
    if isinstance(error, Expired):
        return "expired"
    return "failed" if error else "done"
