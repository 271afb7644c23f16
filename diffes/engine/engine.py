"""The loop that owns a backend: images of many requests, each step of them batched by subgraph.

Callers submit from any thread and hold a future; cancelling it drops the request before its next step. One thread
admits, chooses, denoises and decodes.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from threading import Thread
from time import perf_counter

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.batch import choose
from diffes.engine.job import ImageState, Job
from diffes.engine.observer import Observer, Outcome, Silent, StepReport
from diffes.engine.path import find_path
from diffes.engine.queue import BoundedQueue
from diffes.engine.request import Limits, Request, Result, resolve
from diffes.engine.step import condition, decode, start, take_step
from diffes.errors import EngineError, Overloaded

logger = logging.getLogger(__name__)


class Engine:
    """Serves requests on one backend, which it owns from `start` to `close`."""

    def __init__(
        self, bundle: Bundle, backend: Backend, limits: Limits | None = None, observer: Observer | None = None
    ) -> None:
        self.bundle = bundle
        self.limits = limits or Limits()
        self._backend = backend
        self._observer: Observer = observer or Silent()
        self._queue: BoundedQueue[Job] = BoundedQueue(self.limits.queue, gone=lambda job: job.gone)
        self._running: list[ImageState] = []  # in order of admission; replaced, never changed in place
        self._image_step_seconds = 0.0  # of late; what forecasts are made of
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

    def submit(self, request: Request) -> Future[Result]:
        """Queue a request from any thread.

        InvalidInput names the field that is wrong; Overloaded if the queue is full; EngineError if closed. The
        future ends in a Result, or in the EngineError of this request; cancelling it frees its place.
        """
        resolved = resolve(request, self.bundle, self.limits)
        job = Job(resolved, self._path(resolved.schedule, resolved.steps, resolved.guidance != 1))
        job.future.add_done_callback(lambda _: self._observer.finished(resolved.schedule, _outcome(job), _age(job)))
        try:
            self._queue.put(job)
        except Overloaded:
            self._observer.finished(resolved.schedule, "rejected", _age(job))
            raise
        self._report_load()
        return job.future

    def backlog_seconds(self) -> float:
        """Forecast of the time that all steps now in the engine will take, at the speed of late."""
        waiting = sum(len(job.path.keys) * job.request.images for job in self._queue.waiting())
        running = sum(len(image.job.path.keys) - image.step for image in self._running)
        return (waiting + running) * self._image_step_seconds

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
        self._running = [image for image in self._running if not image.job.gone]
        self._admit()
        batch = choose(self._running, self.limits.batch)
        self._denoise(batch)
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

    def _admit(self) -> None:
        """Take requests in while there is room; one that is larger than the room waits for an empty engine."""
        while job := self._queue.take(self._fits):
            job.admitted = perf_counter()
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

    def _denoise(self, batch: Sequence[ImageState]) -> None:
        if not batch:
            return
        standing = [(image.job, image.stage) for image in batch]
        subgraph, guided = batch[0].key.subgraph, batch[0].key.guided
        began = perf_counter()
        try:
            unsound = take_step(self._backend, batch)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, this batch alone ends
            for job, stage in standing:
                job.fail(_failure(f"stage {stage.stage} failed on subgraph {subgraph}", error))
            return
        seconds = perf_counter() - began
        for image in unsound:
            where = f"stage {image.stage.stage} failed on subgraph {subgraph}"
            image.job.fail(EngineError(where, expected="finite values", found="NaN or infinity"))
        for job in {image.job for image in batch}:
            job.note({stage.stage for other, stage in standing if other is job}, seconds, len(batch))
        self._learn_speed(seconds / len(batch))
        stages = tuple(dict.fromkeys(stage for _, stage in standing))
        rows = len(batch) * (2 if guided else 1)
        self._observer.stepped(StepReport(subgraph, stages, len(batch), rows, seconds))

    def _learn_speed(self, seconds: float) -> None:
        known = self._image_step_seconds
        self._image_step_seconds = known + _RECENT * (seconds - known) if known else seconds

    def _finish(self, images: Sequence[ImageState]) -> None:
        if not images:
            return
        try:
            decoded = decode(self._backend, images)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, these requests alone end
            for image in images:
                image.job.fail(_failure("the decoder failed", error))
            return
        for image, pixels in zip(images, decoded, strict=True):
            image.job.decoded[image.index] = pixels
            image.job.finish_if_complete()

    def _fail_everything(self, error: EngineError) -> None:
        for job in [*self._queue.waiting(), *(image.job for image in self._running)]:
            job.fail(error)
        self._running = []

    def _report_load(self) -> None:
        self._observer.load(waiting=len(self._queue.waiting()), running=len(self._running))


_RECENT = 0.1  # weight of the newest step in the speed of late


def _failure(what: str, error: Exception) -> EngineError:
    failure = EngineError(what, expected="an output", found=f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _outcome(job: Job) -> Outcome:
    if job.future.cancelled():
        return "cancelled"
    return "failed" if job.future.exception() else "done"


def _age(job: Job) -> float:
    return perf_counter() - job.arrived
