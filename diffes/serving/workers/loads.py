"""How much every worker has to do: a table of seconds of work in a file that all of them map."""

import os
import time
from collections import Counter
from threading import Lock

import numpy as np

from diffes.serving.workers.place import Place


class Loads:
    """Rows are who was asked, columns who serves; a worker writes its own row, so that none waits for another. What it
    has just placed counts at once: requests that come together are spread, before any engine knows of them. A last row
    tells since when each has been ready, 0 if it is not.
    """

    def __init__(self, place: Place) -> None:
        self._worker = place.worker
        shape = (place.workers + 1, place.workers)
        with os.fdopen(os.open(place.loads, os.O_CREAT | os.O_RDWR, 0o600), "r+b") as file:
            file.truncate(shape[0] * shape[1] * 8)
            self._table = np.memmap(file, dtype=np.float64, mode="r+", shape=shape)
        self._mine = self._table[self._worker - 1]
        self._lost = np.zeros(place.workers)  # since when those had been ready that were found to be gone
        self._requests = Counter[int]()  # of this worker, that are somewhere
        self._lock = Lock()
        self._mine[:] = 0.0
        self.ready(yes=False)  # as one that was killed still is

    def assign(self, seconds: float) -> int | None:
        """The ready worker that has least to do, now with so much more, this one if in doubt; None if none is ready."""
        with self._lock:
            left = self._table[:-1].sum(axis=0)
            if not (ready := self._ready()):
                return None
            chosen = min(ready, key=lambda worker: (left[worker - 1], (worker - self._worker) % len(left)))
            self._requests[chosen] += 1
            self._mine[chosen - 1] += seconds
            return chosen

    def release(self, worker: int, seconds: float) -> None:
        """What was assigned is done, or will not be."""
        with self._lock:
            self._requests[worker] -= 1
            left = self._mine[worker - 1] - seconds
            self._mine[worker - 1] = max(left, 0.0) if self._requests[worker] else 0.0

    @property
    def others(self) -> bool:
        """Whether another worker is ready."""
        return bool(self._ready() - {self._worker})

    def ready(self, *, yes: bool) -> None:
        """Whether this worker serves others."""
        self._table[-1, self._worker - 1] = time.time() if yes else 0.0

    def lose(self, worker: int) -> None:
        """It is gone: this one assigns it nothing until it is ready again."""
        self._lost[worker - 1] = self._table[-1, worker - 1]

    def forget(self, worker: int) -> None:
        """What a worker that is gone had placed here."""
        self._table[worker - 1, self._worker - 1] = 0.0

    def _ready(self) -> set[int]:
        since = self._table[-1]
        return {int(index) + 1 for index in np.flatnonzero((since > 0) & (since != self._lost))}
