"""What a service holds: settings, bundle, engine; from opening to closing, without blocking its caller."""

import gc
import logging
import time
from math import inf
from threading import Thread
from typing import NamedTuple

from diffes.backends import open_backend
from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.observer import Together
from diffes.engine.policies import scheduler_named
from diffes.errors import NotReady
from diffes.files import sha256_of
from diffes.manifest import MANIFEST
from diffes.serving.calls import Submits
from diffes.serving.endings import Ended, Endings
from diffes.serving.logs import log_ending
from diffes.serving.metric_files import claim_room, forget_dead_processes
from diffes.serving.metrics import Metrics
from diffes.serving.settings import Settings
from diffes.serving.tracing import Tracing
from diffes.serving.vitals import Pulse
from diffes.serving.warmup import spare_what_stays, warm_up
from diffes.serving.workers.engines import Engines
from diffes.serving.workers.ids import new_id
from diffes.serving.workers.place import Place

_LAST_SECONDS = 15.0  # after the time to drain, in which the last answers are written and the backend is freed

logger = logging.getLogger(__name__)


class Served(NamedTuple):
    """A warm engine and the bundle it runs."""

    bundle: Bundle
    bundle_id: str
    backend: str
    engine: Submits
    model: str  # what clients call it
    opened: int  # when, in seconds since 1970
    worker: int = 1  # of several

    def new_id(self) -> str:
        """Of a request that comes now."""
        return new_id(self.worker)


class Runtime:
    """Opens, warms up and starts an engine in the background: a service answers its probes meanwhile."""

    def __init__(self, settings: Settings, metrics: Metrics, place: Place | None = None) -> None:
        """`place` is this worker's among several."""
        self.metrics = metrics
        self.keys = settings.keys
        self._settings = settings
        self._served: Served | None = None
        self._failure: Exception | None = None
        self._place = place
        self._engine: Engine | None = None  # this process's own, once it is warm
        self._engines: Engines | None = None  # of all workers
        self._closed_at = inf  # when `refuse` was called, on the monotonic clock
        self._pulse = Pulse(lambda: self.ready, self._backlog, metrics.felt)
        self._tracing = Tracing.from_environment()
        self._endings = Endings(self._tell)
        self._starter = Thread(target=self._start, name="diffes-start", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._pulse.start()
        self._starter.start()

    @property
    def ready(self) -> bool:
        """Whether this process serves requests itself."""
        return self._engine is not None and self._engine.alive and not self._closed

    @property
    def alive(self) -> bool:
        """Whether waiting makes sense: starting, or serving."""
        return self._failure is None and (self._engine is None or self._engine.alive or self._closed)

    def served(self) -> Served:
        """The engine; NotReady while it warms up, after it failed, and once it is closed. Meanwhile other workers', if
        any serves.
        """
        if self._served is not None and (self.ready or self._others_serve):
            return self._served
        found = "a service that is shutting down" if self._closed else "a service that is warming up"
        if not self.alive:
            found = f"a failure: {self._failure or 'the engine stopped'}"
        raise NotReady("not ready", expected="a warm engine", found=found, remedy="Try again later.")

    def wait_until_started(self) -> None:
        """Block until `start` has ended, well or not."""
        self._starter.join()

    def beyond_help(self, stall_seconds: float) -> str | None:
        """Why this process had better end, if it had: nothing in it will make it serve, or finish, again."""
        if self._failure is not None:
            return f"it could not start: {self._failure}"
        if time.monotonic() - self._closed_at > self._settings.drain_seconds + _LAST_SECONDS:
            return f"it should have ended {_LAST_SECONDS:g} seconds ago"
        if self._engine is None or self._closed:
            return None
        if not self._engine.alive:
            return "its engine has stopped"
        heartbeat = self._engine.heartbeat
        return f"its engine hangs, in one turn since {heartbeat:.3g} seconds" if heartbeat > stall_seconds else None

    def refuse(self) -> None:
        """Be ready no more; what is inside goes on."""
        self._closed_at = min(self._closed_at, time.monotonic())
        if self._engines is not None:
            self._engines.refuse()
        self._pulse.feel()

    def close(self) -> None:
        """Refuse what comes, answer what is inside for as long as the settings say, fail the rest, free the backend."""
        self.refuse()
        end = self._closed_at + self._settings.drain_seconds
        self._starter.join(max(0.0, end - time.monotonic()))
        inside = self._engines or self._engine
        if inside is not None:
            inside.close(limit=max(0.0, end - time.monotonic()))
        self._pulse.stop()
        self._endings.close()
        gc.unfreeze()
        if self._tracing is not None:
            self._tracing.close()

    def _tell(self, ended: Ended) -> None:
        log_ending(ended.ending, "" if self._tracing is None else self._tracing.tell(ended))

    def _backlog(self) -> float:
        return 0.0 if self._engine is None else self._engine.backlog_seconds()

    @property
    def _others_serve(self) -> bool:
        return self._engines is not None and self._engines.others

    @property
    def _closed(self) -> bool:
        return self._closed_at < inf

    def _start(self) -> None:
        try:
            forget_dead_processes()
            settings = self._settings
            bundle = Bundle.open(settings.bundle)
            bundle_id = bundle_id_of(bundle)
            if self._place is not None:
                self._engines = Engines(self._place, bundle, settings.limits)
                self._serve(bundle, bundle_id, self._engines)
            backend = open_backend(settings.backend, bundle, settings.device, settings.threads)
            self.metrics.prepare(bundle, bundle_id, backend.name, backend.buckets, settings.limits)
            costs = warm_up(bundle, backend, settings.limits.batch)
            engine = self._start_engine(bundle, backend, costs)
            spare_what_stays()
            claim_room()
            if self._engines is None:
                self._serve(bundle, bundle_id, engine)
            else:
                self._engines.serve(engine)
            self._engine = engine
            self._pulse.feel()  # a scrape that follows a ready probe agrees with it
            logger.info("serving bundle %s (%s) on %s", settings.bundle, bundle_id, backend.name)
        except Exception as error:
            self._failure = error
            logger.exception("the service cannot start")

    def _serve(self, bundle: Bundle, bundle_id: str, engine: Submits) -> None:
        settings, worker = self._settings, 1 if self._place is None else self._place.worker
        self._served = Served(bundle, bundle_id, settings.backend, engine, settings.model, int(time.time()), worker)

    def _start_engine(self, bundle: Bundle, backend: Backend, costs: StepCosts) -> Engine:
        limits = self._settings.limits
        scheduler = scheduler_named(self._settings.policy, costs, limits.batch)
        observer = Together(self.metrics, self._endings)
        engine = Engine(bundle, backend, limits, observer, costs=costs, scheduler=scheduler)
        engine.start()
        return engine


def bundle_id_of(bundle: Bundle) -> str:
    """16 hex digits that tell a bundle from every other: the manifest holds the hashes of all its files."""
    return sha256_of(bundle.folder / MANIFEST)[:16]
