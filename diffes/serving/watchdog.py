"""Ends a process that cannot serve any more, so that its supervisor starts another.

BentoML asks `__is_alive__` only when somebody asks /livez, and ends nothing by itself.
"""

import logging
import os
from collections.abc import Callable
from threading import Event, Thread

LAST_SECONDS = 15.0  # after the time to drain, in which the last answers are written and the backend is freed
_LAST_ANSWERS = 1.0  # seconds in which what has failed is still written to its callers

logger = logging.getLogger(__name__)


class Watchdog:
    """Asks from a thread of its own why the process had better end; `end` is called once, with the reason."""

    def __init__(
        self, reason: Callable[[], str | None], every: float, end: Callable[[str], None] | None = None
    ) -> None:
        """`every` so many seconds."""
        self._reason = reason
        self._every = every
        self._end = end or end_process
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="diffes-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(self._every):
            if reason := self._reason():
                self._end(reason)
                return


def end_process(reason: str) -> None:
    """At once, without waiting for threads: one of them hangs, or may."""
    logger.critical("this process ends: %s", reason)
    Event().wait(_LAST_ANSWERS)
    logging.shutdown()
    os._exit(1)
