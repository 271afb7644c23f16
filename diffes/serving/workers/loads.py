"""How much every engine has to do: a table of seconds of work in a file that all processes of a service map.

Rows are who was asked, columns whose engine serves; a worker writes its own row, so that none waits for another. A last
row tells since when each engine has been ready, 0 if it is not.
"""

import os
import time
from collections import Counter
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from diffes.files import take_room
from diffes.serving.workers.place import Place


class Loads:
    """A worker's view: what it places counts at once, so that requests that come together are spread before any engine
    knows of them.
    """

    def __init__(self, place: Place) -> None:
        self._worker = place.worker
        self._table = _mapped(place)
        self._mine = self._table[self._worker - 1]
        self._lost = np.zeros(place.workers)  # since when those had been ready that were found to be gone
        self._requests = Counter[int]()  # of this worker, that are somewhere
        self._lock = Lock()
        self._mine[:] = 0.0  # of one that was killed

    def assign(self, seconds: float) -> int | None:
        """The ready engine that has least to do, now with so much more, this worker's if in doubt; None if none is
        ready.
        """
        with self._lock:
            left = self._table[:-1].sum(axis=0)
            if not (ready := self.ready):
                return None
            chosen = min(ready, key=lambda worker: (left[worker - 1], (worker - self._worker) % len(left)))
            self._requests[chosen] += 1
            self._mine[chosen - 1] += seconds
            return chosen

    def correct(self, worker: int, seconds: float) -> None:
        """What was assigned takes so much longer than was thought."""
        with self._lock:
            self._mine[worker - 1] += seconds

    def release(self, worker: int, seconds: float) -> None:
        """What was assigned is done, or will not be."""
        with self._lock:
            self._requests[worker] -= 1
            left = self._mine[worker - 1] - seconds
            self._mine[worker - 1] = max(left, 0.0) if self._requests[worker] else 0.0

    def lose(self, worker: int) -> None:
        """Its engine is gone: this worker assigns it nothing until it is ready again."""
        self._lost[worker - 1] = self._table[-1, worker - 1]

    @property
    def ready(self) -> set[int]:
        """Whose engines serve, as far as this worker knows."""
        since = self._table[-1]
        return {int(index) + 1 for index in np.flatnonzero((since > 0) & (since != self._lost))}


class Duty:
    """An engine's view: whether it serves."""

    def __init__(self, place: Place) -> None:
        self._table = _mapped(place)
        self._column = place.worker - 1

    def ready(self, *, yes: bool) -> None:
        """Whether it serves from now on."""
        self._table[-1, self._column] = time.time() if yes else 0.0

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return bool(self._table[-1, self._column] > 0)

    def forget(self, worker: int) -> None:
        """What a worker that is gone had placed here."""
        self._table[worker - 1, self._column] = 0.0


def _mapped(place: Place) -> NDArray[np.float64]:
    shape = (place.workers + 1, place.workers)
    with os.fdopen(os.open(place.loads, os.O_CREAT | os.O_RDWR, 0o600), "r+b") as file:
        take_room(file.fileno(), shape[0] * shape[1] * 8)  # a hole in a mapped file ends whom a full disk meets
        return np.memmap(file, dtype=np.float64, mode="r+", shape=shape)
