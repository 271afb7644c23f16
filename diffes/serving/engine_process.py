"""The process that runs a worker's engine: `python -m diffes.serving.engine_process FOLDER WORKER WORKERS`.

The engine launches a step every few milliseconds, and would wait for Python's lock while requests are read and images
are packed for their callers; so nothing of HTTP is in here. The worker that started it writes a line to its standard
input when it shall end; when the input ends without one, the worker is gone and this process with it.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from diffes.errors import DiffesError
from diffes.serving import logs
from diffes.serving.metric_files import require_room
from diffes.serving.metrics import Metrics
from diffes.serving.runtime import Runtime
from diffes.serving.settings import Settings
from diffes.serving.watchdog import Watchdog
from diffes.serving.workers.place import Place

_SWITCH_SECONDS = 1e-4  # a thread waits for Python's lock: every call of the engine's to torch may have to


def main() -> None:
    """Serve until told otherwise."""
    for ignored in (signal.SIGTERM, signal.SIGINT):  # sent to all processes of a service: the worker decides
        signal.signal(ignored, signal.SIG_IGN)
    folder, worker, workers = sys.argv[1:]
    place = Place(Path(folder), int(worker), int(workers))
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        settings = Settings.from_environment().on_worker(place.worker)
        logs.configure_engine(settings.log, place.worker)
        require_room()
        runtime = Runtime(settings, Metrics(), place)
    except DiffesError as error:
        raise SystemExit(f"diffes: {error}") from error
    runtime.start()
    stall = settings.stall_seconds
    Watchdog(partial(runtime.beyond_help, stall), every=min(1.0, stall / 4)).start()
    told = sys.stdin.readline()
    if not told or runtime.engine is None:  # nothing is inside that anybody waits for
        os._exit(0 if told else 1)
    runtime.close()


if __name__ == "__main__":
    main()
