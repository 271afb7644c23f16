"""Serves requests on one backend: images of many, each step of them batched by subgraph.

Callers submit from any thread and hold a future; cancelling it drops the request before its next step. One thread
(loop.py) admits, chooses, denoises and decodes.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache, partial
from math import inf
from threading import Thread
from time import perf_counter

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.admission import Ahead, Forecast, OfferedLoad, require_time
from diffes.engine.costs import StepCosts
from diffes.engine.job import Job
from diffes.engine.loop import Loop
from diffes.engine.observer import Ending, Observer, Outcome, Silent
from diffes.engine.path import Path, find_path
from diffes.engine.policies import DEFAULT, scheduler_named
from diffes.engine.queue import BoundedQueue
from diffes.engine.request import Limits, Listener, Request, ResolvedRequest, Result, resolve
from diffes.engine.scheduling import Scheduler
from diffes.engine.timeline import Timeline, timeline_of
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
        timeline: Timeline | None = None,
    ) -> None:
        """`costs` are what forecasts are made of, and the default scheduler's choices; without, a step is taken to cost
        the same for many as for one. `clock` tells seconds; `timeline` is the backend's device's if none is given.
        """
        self.bundle = bundle
        self.limits = limits or Limits()
        if self.limits.shedding is not None:
            self.limits.shedding.require_cheaper(bundle)
        self._backend = backend
        self._observer: Observer = observer or Silent()
        self._clock = clock
        self._load = OfferedLoad()
        self._queue: BoundedQueue[Job] = BoundedQueue(self.limits.queue, lambda job: job.request.images)
        self._inside: dict[Future[Result], Job] = {}  # that are not done, by their callers' end
        self._named: dict[str, Job] = {}  # the same, by request id
        costs = costs or StepCosts({})
        self._forecast = Forecast(costs, self.limits.batch)
        self._loop = Loop(
            bundle,
            backend,
            self._queue,
            self._observer,
            limits=self.limits,
            costs=costs,
            scheduler=scheduler or scheduler_named(DEFAULT, costs, self.limits.batch),
            load=self._load,
            clock=clock,
            timeline=timeline or timeline_of(backend.device, clock),
        )
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
        ahead = self._ahead()
        backlog = self._forecast.seconds(ahead)
        resolved, path = self._resolved(request, backlog)
        job = Job(resolved, path, self._clock(), listener)
        try:
            require_time(job, self.limits, backlog, lambda: self._latency(job, ahead))
            self._enter(job)
            self._queue.put(job)
        except DiffesError as error:
            self._leave(job)
            if isinstance(error, Overloaded):
                error.retry_after = backlog
                self._observer.finished(Ending(resolved, "rejected", job.timings(self._clock()), 0, error.reason))
            raise
        if job.gone:  # taken back before it was in the queue
            self._queue.discard(job)
        self._loop.expect(job)
        self._load.add(self._forecast.work(path.keys, resolved.images), job.arrived)
        self._loop.report_load()
        return job.future

    def work(self, request: Request) -> float:
        """Seconds of a request that has the engine to itself; InvalidInput names the field that is wrong."""
        resolved, path = self._resolved(request, 0.0)
        return self._forecast.work(path.keys, resolved.images)

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step; False if none of that id is inside."""
        job = self._named.get(request_id)
        if job is not None:
            job.withdrawn = True
        return job is not None and job.future.cancel()

    def backlog_seconds(self) -> float:
        """Forecast of the time that all steps now in the engine will take."""
        return self._forecast.seconds(self._ahead())

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
        self._loop.fail_everything(_closed())
        if not self._thread.is_alive():
            self._backend.close()

    def step(self) -> None:
        """One turn of the loop, for who drives an engine that is not started."""
        self._loop.turn()

    def _run(self) -> None:
        try:
            self._loop.adopt()
            while not self._stopping and (self._loop.busy or self._queue.wait()):
                self._turn_began = self._clock()
                self._loop.turn()
                self._turn_began = inf
        except Exception:
            logger.exception("the engine stopped on an error of its own")
        finally:
            self._queue.close()
            stopped = EngineError("the engine stopped before the request was done", remedy="Send it again.")
            self._loop.fail_everything(_closed() if self._stopping else stopped)

    def _resolved(self, request: Request, backlog: float) -> tuple[ResolvedRequest, Path]:
        resolved = resolve(request, self.bundle, self.limits, backlog)
        return resolved, self._path(resolved.schedule, resolved.steps, resolved.guidance != 1, resolved.size)

    def _ahead(self) -> Ahead:
        waiting = [(job.path.keys, 0) for job in self._queue.waiting() for _ in range(job.request.images)]
        return [*waiting, *((image.keys, image.step) for image in self._loop.running)]

    def _latency(self, job: Job, ahead: Ahead) -> float:
        load = self._load.share(job.arrived)
        return self._forecast.latency(job.path.keys, job.request.images, ahead, load)

    def _enter(self, job: Job) -> None:
        self._inside[job.future] = job
        if job.request.id:
            self._named[job.request.id] = job
        # not a closure over the job: a future keeps its callbacks, and a circle would hold the job's tensors on the
        # device until a garbage collection comes by
        job.future.add_done_callback(self._ended)

    def _leave(self, job: Job) -> None:
        self._inside.pop(job.future, None)
        self._queue.discard(job)
        if self._named.get(job.request.id) is job:
            del self._named[job.request.id]

    def _ended(self, future: Future[Result]) -> None:
        job = self._inside[future]
        self._leave(job)
        outcome, now = _outcome(job), self._clock()
        if job.due < inf and outcome in ("done", "expired"):
            self._forecast.learn(in_time=outcome == "done" and now <= job.due)
        timings = future.result().timings if outcome == "done" else job.timings(now)  # what its caller is told
        self._observer.finished(Ending(job.request, outcome, timings, job.steps, _reason(job)))


def _closed() -> Closed:
    return Closed("the engine was closed before the request was done", remedy="Send it again.")


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
