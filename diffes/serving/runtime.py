"""What an engine's process holds: settings, bundle, engine; from opening to closing, without blocking its caller."""

import gc
import logging
import time
from math import inf
from threading import Thread

from diffes.backends import open_backend
from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.observer import Together
from diffes.engine.policies import scheduler_named
from diffes.serving.endings import Ended, Endings
from diffes.serving.garbage import spare_what_stays
from diffes.serving.logs import log_ending
from diffes.serving.metric_files import claim_room, forget_dead_processes
from diffes.serving.metrics import Metrics
from diffes.serving.settings import Settings
from diffes.serving.tracing import Tracing
from diffes.serving.vitals import Pulse, Vitals, device_bytes, resident_bytes
from diffes.serving.warmup import warm_up
from diffes.serving.watchdog import LAST_SECONDS
from diffes.serving.workers.host import Host
from diffes.serving.workers.loads import Duty
from diffes.serving.workers.place import Place

logger = logging.getLogger(__name__)


class Runtime:
    """Opens, warms up and starts an engine in the background, and serves all workers with it."""

    def __init__(self, settings: Settings, metrics: Metrics, place: Place) -> None:
        """The place is entered already."""
        self.engine: Engine | None = None  # once it is warm
        self._metrics = metrics
        self._settings = settings
        self._failure: Exception | None = None
        self._place = place
        self._duty = Duty(place)
        self._duty.ready(yes=False)  # as one that was killed still is
        self._host: Host | None = None
        self._closed_at = inf  # when `refuse` was called, on the monotonic clock
        self._pulse = Pulse(self._feel)
        self._tracing = Tracing.from_environment()
        self._endings = Endings(self._tell)
        self._starter = Thread(target=self._start, name="diffes-start", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._pulse.start()
        self._starter.start()

    def wait_until_started(self) -> None:
        """Block until `start` has ended, well or not."""
        self._starter.join()

    def beyond_help(self, stall_seconds: float) -> str | None:
        """Why this process had better end, if it had: nothing in it will make it serve, or finish, again."""
        if self._failure is not None:
            return f"it could not start: {self._failure}"
        if time.monotonic() - self._closed_at > self._settings.drain_seconds + LAST_SECONDS:
            return f"it should have ended {LAST_SECONDS:g} seconds ago"
        if self.engine is None or self._closed:
            return None
        if not self.engine.alive:
            return "its engine has stopped"
        heartbeat = self.engine.heartbeat
        return f"its engine hangs, in one turn since {heartbeat:.3g} seconds" if heartbeat > stall_seconds else None

    def refuse(self) -> None:
        """Be ready no more; what is inside goes on."""
        self._closed_at = min(self._closed_at, time.monotonic())
        self._duty.ready(yes=False)

    def close(self) -> None:
        """Refuse what comes, answer what is inside for as long as the settings say, fail the rest, free the backend."""
        self.refuse()
        end = self._closed_at + self._settings.drain_seconds
        self._starter.join(max(0.0, end - time.monotonic()))
        if self.engine is not None:
            self.engine.close(limit=max(0.0, end - time.monotonic()))
        if self._host is not None:
            self._host.close()
        self._pulse.stop()
        self._endings.close()
        gc.unfreeze()
        if self._tracing is not None:
            self._tracing.close()

    def _tell(self, ended: Ended) -> None:
        log_ending(ended.ending, "" if self._tracing is None else self._tracing.tell(ended))

    def _feel(self) -> None:
        backlog = 0.0 if self.engine is None else self.engine.backlog_seconds()
        self._metrics.felt(Vitals(backlog, resident_bytes(), *device_bytes()))

    @property
    def _closed(self) -> bool:
        return self._closed_at < inf

    def _start(self) -> None:
        try:
            forget_dead_processes()
            settings = self._settings
            bundle = Bundle.open(settings.bundle)
            backend = open_backend(settings.backend, bundle, settings.device, settings.threads)
            self._metrics.prepare(bundle, backend.name, backend.buckets, settings.limits)
            engine = self._start_engine(bundle, backend, warm_up(bundle, backend, settings.limits.batch))
            spare_what_stays()
            claim_room()
            self._host = Host(self._place.socket(self._place.worker), engine, self._duty.forget)
            self.engine = engine
            self._duty.ready(yes=not self._closed)
            logger.info("serving bundle %s (%s) on %s", settings.bundle, bundle.id, backend.name)
        except Exception as error:
            self._failure = error
            logger.exception("the engine cannot start")

    def _start_engine(self, bundle: Bundle, backend: Backend, costs: StepCosts) -> Engine:
        limits = self._settings.limits
        scheduler = scheduler_named(self._settings.policy, costs, limits.batch)
        observer = Together(self._metrics, self._endings)
        engine = Engine(bundle, backend, limits, observer, costs=costs, scheduler=scheduler)
        engine.start()
        return engine
