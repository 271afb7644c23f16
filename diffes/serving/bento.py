"""The BentoML service: our HTTP app at "/" in one process or several, probes and metrics of BentoML's own.

BentoML's sync endpoints, task queue and batching are not used: they cannot stop work whose client left, nor batch
by step. Its limits are set far above the engine's queue, which answers 429 itself.
"""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

# Before anything of BentoML asks; it caches the first answer, which `bentoml serve` asks for before this import.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from diffes.bundle import Bundle
from diffes.errors import DiffesError, InvalidInput
from diffes.serving import logs
from diffes.serving.app import ENDPOINTS, create_app
from diffes.serving.front import Front
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.metric_files import claim_room, require_room
from diffes.serving.scrape import known_endpoints_only
from diffes.serving.settings import Settings, WorkerSettings
from diffes.serving.tracing import tracing_wanted
from diffes.serving.untimed import leave_requests_untimed
from diffes.serving.watchdog import Watchdog
from diffes.serving.workers.place import Place

usage_stats.do_not_track.cache_clear()
leave_requests_untimed()

_PROBES = ("/livez", "/readyz", "/healthz", "/metrics")
_SECONDS = 3600.0  # BentoML wants a limit, and clients of its own ask for it; here nothing keeps it (untimed.py)
_WATCH_SECONDS = 0.25  # how soon a worker whose engine cannot start ends
_REQUESTS = 4096  # at once; far above the engine's queue


def _current() -> Front:
    service: Diffes = bentoml.get_current_service()
    return service.front


def _workers() -> int:
    try:
        return WorkerSettings.from_environment().workers
    except InvalidInput as error:
        raise SystemExit(f"diffes: {error}") from error


def _front(settings: Settings, worker: int) -> Front:
    """Of worker 1, 2, ..."""
    require_room()
    metrics = FrontMetrics()
    claim_room()
    folder = Path(tempfile.gettempdir(), f"diffes-{os.getuid()}-{os.getppid()}")  # of all workers of one parent
    return Front(settings, metrics, Place(folder, worker, settings.workers))


def _whole(app: ASGIApp) -> ASGIApp:
    """The app behind a plain function: BentoML passes a Starlette app only the paths it has, and answers 404 itself."""

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return whole


@bentoml.service(
    name="diffes",
    workers=_workers(),
    traffic={"timeout": _SECONDS, "max_concurrency": _REQUESTS},
    envs=[{"name": "BENTOML_DO_NOT_TRACK", "value": "True"}],
)
@bentoml.asgi_app(_whole(create_app(_current)), path="/")
class Diffes:
    """Serves the bundle that the environment names."""

    def __init__(self) -> None:
        try:
            settings = Settings.from_environment()
            logs.configure(settings.log)
            self.front = _front(settings, bentoml.server_context.worker_index or 1)
        except DiffesError as error:
            raise SystemExit(f"diffes: {error}") from error
        self.front.start()
        self._watchdog = Watchdog(self.front.beyond_help, _WATCH_SECONDS)
        self._watchdog.start()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def verify() -> None:
        """In the parent, before any worker: a wrong setting or a damaged bundle ends `bentoml serve` here."""
        try:
            settings = Settings.from_environment()
            logs.configure(settings.log)
            tracing_wanted()
            settings.require_sound(Bundle.open(settings.bundle))
        except DiffesError as error:
            raise SystemExit(f"diffes: {error}") from error
        if settings.workers > 1:  # in a container BentoML starts no worker again, and serves on with fewer and fewer
            os.environ.pop("BENTOML_CONTAINERIZED", None)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def listen(self) -> None:
        """Hear of SIGTERM before uvicorn does, which would take no more connections at once, and wait without limit."""
        loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

        async def end() -> None:
            self.front.refuse()
            await asyncio.to_thread(self.front.close)
            if callable(stop):
                stop(signal.SIGTERM, None)

        loop.add_signal_handler(signal.SIGTERM, lambda: ending.append(loop.create_task(end())))
        ending: list[asyncio.Task[None]] = []  # the loop itself holds tasks weakly

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def finish(self) -> None:
        """Answer what is inside, then free everything."""
        await run_in_threadpool(self.front.close)

    async def __is_ready__(self) -> bool:
        return self.front.feel()

    async def __is_alive__(self) -> bool:
        return self.front.alive

    async def __metrics__(self, text: str) -> str:
        return known_endpoints_only(text, (*ENDPOINTS, *_PROBES))
