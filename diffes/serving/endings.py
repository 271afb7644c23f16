"""Requests' ends told away from the engine's thread, which waits for no log and no exporter."""

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from time import time_ns
from typing import NamedTuple

from diffes.engine.observer import Ending, Silent

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """An ending, and when: nanoseconds since 1970."""

    ending: Ending
    at: int


class Endings(Silent):
    """An observer that hands each ending to `tell` on a thread of its own, in order."""

    def __init__(self, tell: Callable[[Ended], None]) -> None:
        self._tell = tell
        self._told: SimpleQueue[Ended | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="diffes-endings", daemon=True)
        self._thread.start()

    def finished(self, ending: Ending) -> None:
        """To be told."""
        self._told.put(Ended(ending, time_ns()))

    def close(self) -> None:
        """Tell what is left, then end."""
        self._told.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (ended := self._told.get()) is not None:
            try:
                self._tell(ended)
            except Exception:
                logger.exception("a request's end could not be told of")
