"""Ends a process that cannot serve any more, so that its supervisor starts another.

BentoML asks `__is_alive__` only when somebody asks /livez, and ends nothing by itself.
"""

import logging
import os
from collections.abc import Callable
from threading import Event, Thread

from diffes.serving.runtime import Runtime

_LAST_ANSWERS = 1.0  # seconds in which what has failed is still written to its callers

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks at a runtime from a thread of its own; `end` is called once, with the reason."""

    def __init__(self, runtime: Runtime, stall_seconds: float, end: Callable[[str], None] | None = None) -> None:
        self._runtime = runtime
        self._stall_seconds = stall_seconds
        self._end = end or end_process
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="diffes-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._stall_seconds / 4)):
            if reason := self._runtime.beyond_help(self._stall_seconds):
                self._end(reason)
                return


def end_process(reason: str) -> None:
    """At once, without waiting for threads: one of them hangs, or may."""
    logger.critical("this process ends: %s", reason)
    Event().wait(_LAST_ANSWERS)
    logging.shutdown()
    os._exit(1)
