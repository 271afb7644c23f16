"""What is felt of a process now and then, rather than told of by the engine: memory, backlog, readiness.

A scrape reads files that all processes write, whichever worker answers it. So each process writes its own on a thread
of its own, once a second, and at no scrape's cost.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import NamedTuple

import psutil
import torch

_SECONDS = 1.0


class Vitals(NamedTuple):
    """Of an engine's process."""

    backlog_seconds: float
    resident_bytes: int
    allocated_bytes: int = 0  # by torch, on all CUDA devices: tensors
    reserved_bytes: int = 0  # the same with what torch keeps for later ones


class Pulse:
    """Has `feel` called until it is stopped."""

    def __init__(self, feel: Callable[[], object]) -> None:
        self._feel = feel
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="diffes-pulse", daemon=True)

    def start(self) -> None:
        """Begin; the first call is done before this returns."""
        self._feel()
        self._thread.start()

    def stop(self) -> None:
        """End, calling once more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._feel()

    def _run(self) -> None:
        while not self._stopped.wait(_SECONDS):
            self._feel()


def resident_bytes() -> int:
    """Of this process."""
    return int(psutil.Process().memory_info().rss)


def device_bytes() -> tuple[int, int]:
    """Allocated and reserved by this process; nothing is asked of a device that it does not use."""
    if not torch.cuda.is_initialized():
        return 0, 0
    devices = range(torch.cuda.device_count())
    return sum(map(torch.cuda.memory_allocated, devices)), sum(map(torch.cuda.memory_reserved, devices))
