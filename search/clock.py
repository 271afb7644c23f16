"""Time of a search: how long its phases took, and whether its limit allows more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(Exception):
    """The time limit leaves no room for another evaluation; ends a search early, never reaches its caller."""


class Clock:
    """Seconds since a search began, runs before a resume included."""

    def __init__(self, limit: float | None, phases: dict[str, float]) -> None:
        self._limit = limit
        self._before = sum(phases.values())
        self._start = time.monotonic()
        self.phases = phases

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._start

    def require(self, seconds: float) -> None:
        """OutOfTime unless `seconds` more fit the limit."""
        if self._limit is not None and self.elapsed + seconds > self._limit:
            raise OutOfTime

    def share(self, since: float, kept: float) -> float:
        """Part that has passed of the time from `since` to `kept` seconds before the limit; 0 without a limit."""
        if self._limit is None:
            return 0.0
        passed = self.elapsed - since
        return passed / max(self._limit - kept - since, passed, 1e-9)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add what passes inside to a phase."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - start
