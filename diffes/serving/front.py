"""What a worker holds: the bundle's description, the engines of all workers, and the process of its own."""

import gc
import time
from math import inf
from typing import NamedTuple

from diffes.bundle import Bundle
from diffes.errors import NotReady
from diffes.manifest import read_manifest
from diffes.serving.calls import Submits
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.garbage import spare_what_stays
from diffes.serving.settings import Settings
from diffes.serving.vitals import Pulse, resident_bytes
from diffes.serving.watchdog import LAST_SECONDS
from diffes.serving.workers.engines import Engines
from diffes.serving.workers.ids import new_id
from diffes.serving.workers.keeper import Keeper
from diffes.serving.workers.loads import Duty
from diffes.serving.workers.place import Place


class Served(NamedTuple):
    """Warm engines and the bundle they run."""

    bundle: Bundle
    backend: str
    engine: Submits
    model: str  # what clients call it
    opened: int  # when, in seconds since 1970
    worker: int = 1  # of several

    def new_id(self) -> str:
        """Of a request that comes now."""
        return new_id(self.worker)


class Front:
    """Has an engine started, and serves what comes by any that is ready: a service answers its probes meanwhile."""

    def __init__(self, settings: Settings, metrics: FrontMetrics, place: Place) -> None:
        """BundleError without a manifest; the engine verifies the rest. NotReady if the place cannot be entered."""
        self.metrics = metrics
        self.keys = settings.keys
        self._settings = settings
        self._place = place
        bundle = Bundle(settings.bundle, read_manifest(settings.bundle))
        place.enter()
        self._engines = Engines(place, bundle, settings.limits, metrics.lost)
        self._duty = Duty(place)
        self._keeper = Keeper(place, self._duty, metrics.engine_started)
        self._served = Served(
            bundle, settings.backend, self._engines, settings.model, int(time.time()), worker=place.worker
        )
        self._closed_at = inf  # when `refuse` was called, on the monotonic clock
        self._pulse = Pulse(self.feel)

    def start(self) -> None:
        """Begin; returns at once."""
        self._keeper.start()
        self._pulse.start()
        spare_what_stays()

    @property
    def ready(self) -> bool:
        """Whether this worker's own engine serves."""
        return self._duty.is_ready and not self._closed

    @property
    def alive(self) -> bool:
        """Whether waiting makes sense: starting, or serving."""
        return self._keeper.failure is None

    def feel(self) -> bool:
        """Whether it is ready, which a scrape that follows says, too."""
        ready = self.ready
        self.metrics.felt(ready=ready, resident_bytes=resident_bytes())
        return ready

    def served(self) -> Served:
        """The engines; NotReady while none serves, and once this worker is to end and no other's serves."""
        if self.ready or self._engines.ready - {self._place.worker}:
            return self._served
        found = "a service that is shutting down" if self._closed else "a service that is warming up"
        if not self.alive:
            found = f"a failure: {self._keeper.failure}"
        raise NotReady("not ready", expected="a warm engine", found=found, remedy="Try again later.")

    def beyond_help(self) -> str | None:
        """Why this process had better end, if it had: nothing in it will make it serve, or finish, again."""
        if self._keeper.failure is not None:
            return self._keeper.failure
        if time.monotonic() - self._closed_at > self._settings.drain_seconds + LAST_SECONDS:
            return f"it should have ended {LAST_SECONDS:g} seconds ago"
        return None

    def refuse(self) -> None:
        """Be ready no more; what is inside goes on."""
        self._closed_at = min(self._closed_at, time.monotonic())
        self.feel()

    def close(self) -> None:
        """Refuse what comes, answer what is inside for as long as the settings say, and have the engine end."""
        self.refuse()
        end = self._closed_at + self._settings.drain_seconds
        self._keeper.close()
        self._engines.close(limit=max(0.0, end - time.monotonic()))
        self._keeper.wait(max(0.0, end - time.monotonic()) + LAST_SECONDS)
        self._pulse.stop()
        self._place.leave()
        gc.unfreeze()

    @property
    def _closed(self) -> bool:
        return self._closed_at < inf
