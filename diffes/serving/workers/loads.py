"""How much every worker has to do: a table of seconds of work in a file that all of them map."""

import os
from collections import Counter
from collections.abc import Set
from threading import Lock

import numpy as np

from diffes.serving.workers.place import Place


class Loads:
    """Rows are who was asked, columns who serves; a worker writes its own row, so that none waits for another. What it
    has just placed counts at once: requests that come together are spread, before any engine knows of them. A last row
    tells who is ready.
    """

    def __init__(self, place: Place) -> None:
        self._worker = place.worker
        shape = (place.workers + 1, place.workers)
        with os.fdopen(os.open(place.loads, os.O_CREAT | os.O_RDWR, 0o600), "r+b") as file:
            file.truncate(shape[0] * shape[1] * 8)
            self._table = np.memmap(file, dtype=np.float64, mode="r+", shape=shape)
        self._mine = self._table[self._worker - 1]
        self._requests = Counter[int]()  # of this worker, that are somewhere
        self._lock = Lock()
        self._mine[:] = 0.0

    def assign(self, seconds: float, without: Set[int] = frozenset()) -> int:
        """The worker that has least to do, ready and none of `without`, now with so much more; this one if in doubt."""
        with self._lock:
            left = self._table[:-1].sum(axis=0)
            workers = len(left)
            ready = [
                worker
                for worker in range(1, workers + 1)
                if worker == self._worker or (self._table[-1, worker - 1] and worker not in without)
            ]
            chosen = min(ready, key=lambda worker: (left[worker - 1], (worker - self._worker) % workers))
            self._requests[chosen] += 1
            self._mine[chosen - 1] += seconds
            return chosen

    def release(self, worker: int, seconds: float) -> None:
        """What was assigned is done, or will not be."""
        with self._lock:
            self._requests[worker] -= 1
            left = self._mine[worker - 1] - seconds
            self._mine[worker - 1] = max(left, 0.0) if self._requests[worker] else 0.0

    def tell(self, worker: int, *, ready: bool) -> None:
        """Whether a worker serves others."""
        self._table[-1, worker - 1] = float(ready)

    def forget(self, worker: int) -> None:
        """What a worker that is gone had placed here."""
        self._table[worker - 1, self._worker - 1] = 0.0
