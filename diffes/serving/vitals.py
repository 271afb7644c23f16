"""What is felt of a process now and then, rather than told of by the engine: memory, backlog, readiness.

A scrape reads files that all workers write, whichever worker answers it. So each worker writes its own on a thread of
its own, once a second, and at no scrape's cost.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import NamedTuple

import psutil
import torch

_SECONDS = 1.0


class Vitals(NamedTuple):
    """Of this process."""

    ready: bool
    backlog_seconds: float
    resident_bytes: int
    allocated_bytes: int = 0  # by torch, on all CUDA devices: tensors
    reserved_bytes: int = 0  # the same with what torch keeps for later ones


class Pulse:
    """Feels for vitals until it is stopped, and tells each time."""

    def __init__(self, ready: Callable[[], bool], backlog: Callable[[], float], tell: Callable[[Vitals], None]) -> None:
        self._ready, self._backlog, self._tell = ready, backlog, tell
        self._process = psutil.Process()
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="diffes-pulse", daemon=True)

    def start(self) -> None:
        """Begin; what is felt first is told before this returns."""
        self.feel()
        self._thread.start()

    def stop(self) -> None:
        """End, telling once more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.feel()

    def feel(self) -> None:
        """Tell now."""
        resident = self._process.memory_info().rss
        self._tell(Vitals(self._ready(), self._backlog(), resident, *_device_bytes()))

    def _run(self) -> None:
        while not self._stopped.wait(_SECONDS):
            self.feel()


def _device_bytes() -> tuple[int, int]:
    """Allocated and reserved; nothing is asked of a device that this process does not use."""
    if not torch.cuda.is_initialized():
        return 0, 0
    devices = range(torch.cuda.device_count())
    return sum(map(torch.cuda.memory_allocated, devices)), sum(map(torch.cuda.memory_reserved, devices))
