"""What a service holds: settings, bundle, engine; from opening to closing, without blocking its caller."""

import logging
import time
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
from diffes.serving.endings import Ended, Endings
from diffes.serving.logs import log_ending
from diffes.serving.metrics import Metrics
from diffes.serving.scrape import forget_dead_processes
from diffes.serving.settings import Settings
from diffes.serving.tracing import Tracing
from diffes.serving.vitals import Pulse
from diffes.serving.warmup import warm_up

logger = logging.getLogger(__name__)


class Served(NamedTuple):
    """A warm engine and the bundle it runs."""

    bundle: Bundle
    bundle_id: str
    backend: str
    engine: Engine
    model: str  # what clients call it
    opened: int  # when, in seconds since 1970


class Runtime:
    """Opens, warms up and starts an engine in the background: a service answers its probes meanwhile."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.metrics = metrics
        self._settings = settings
        self._served: Served | None = None
        self._failure: Exception | None = None
        self._closed = False
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
        """Whether requests will be served."""
        return self._served is not None and self._served.engine.alive and not self._closed

    @property
    def alive(self) -> bool:
        """Whether waiting makes sense: starting, or serving."""
        return self._failure is None and (self._served is None or self._served.engine.alive or self._closed)

    def served(self) -> Served:
        """The engine; NotReady while it warms up, after it failed, and once it is closed."""
        if self._served is not None and self.ready:
            return self._served
        found = "a service that is shutting down" if self._closed else "a service that is warming up"
        if not self.alive:
            found = f"a failure: {self._failure or 'the engine stopped'}"
        raise NotReady("not ready", expected="a warm engine", found=found, remedy="Try again later.")

    def wait_until_started(self) -> None:
        """Block until `start` has ended, well or not."""
        self._starter.join()

    def close(self) -> None:
        """Answer what is inside, refuse what comes later, free the backend."""
        self._closed = True
        self._starter.join()
        if self._served is not None:
            self._served.engine.close()
        self._pulse.stop()
        self._endings.close()
        if self._tracing is not None:
            self._tracing.close()

    def _tell(self, ended: Ended) -> None:
        log_ending(ended.ending, "" if self._tracing is None else self._tracing.tell(ended))

    def _backlog(self) -> float:
        return 0.0 if self._served is None else self._served.engine.backlog_seconds()

    def _start(self) -> None:
        try:
            forget_dead_processes()
            settings = self._settings
            bundle = Bundle.open(settings.bundle)
            backend = open_backend(settings.backend, bundle, settings.device, settings.threads)
            bundle_id = bundle_id_of(bundle)
            self.metrics.prepare(bundle, bundle_id, backend.name, backend.buckets, settings.limits)
            costs = warm_up(bundle, backend, settings.limits.batch)
            self._served = self._engine(bundle, bundle_id, backend, costs)
            logger.info("serving bundle %s (%s) on %s", settings.bundle, bundle_id, backend.name)
        except Exception as error:
            self._failure = error
            logger.exception("the service cannot start")

    def _engine(self, bundle: Bundle, bundle_id: str, backend: Backend, costs: StepCosts) -> Served:
        limits = self._settings.limits
        scheduler = scheduler_named(self._settings.policy, costs, limits.batch)
        engine = Engine(
            bundle, backend, limits, Together(self.metrics, self._endings), costs=costs, scheduler=scheduler
        )
        engine.start()
        return Served(bundle, bundle_id, backend.name, engine, self._settings.model, int(time.time()))


def bundle_id_of(bundle: Bundle) -> str:
    """16 hex digits that tell a bundle from every other: the manifest holds the hashes of all its files."""
    return sha256_of(bundle.folder / MANIFEST)[:16]
