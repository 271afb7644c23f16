"""Prometheus metrics of a worker: what its callers felt, and what no engine hears of."""

from typing import Literal, get_args

from prometheus_client import REGISTRY, CollectorRegistry

from diffes.serving.instruments import FrontInstruments

FirstKind = Literal["answer", "stream"]

_INVALID = "invalid"


class FrontMetrics:
    """Make one per process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """With every series there will be, at 0."""
        self._of = FrontInstruments(registry)
        self._of.requests.labels(_INVALID)
        for kind in get_args(FirstKind):
            self._of.first_byte_seconds.labels(kind)

    def invalid(self) -> None:
        """A request was refused before an engine saw it."""
        self._of.requests.labels(_INVALID).inc()

    def first_byte(self, kind: FirstKind, seconds: float) -> None:
        """A caller has the first thing that was made of its images."""
        self._of.first_byte_seconds.labels(kind).observe(seconds)

    def lost(self) -> None:
        """A request was inside an engine that ended."""
        self._of.lost.inc()

    def engine_started(self) -> None:
        """The process of this worker's engine was started, for the first time or again."""
        self._of.engine_starts.inc()

    def felt(self, *, ready: bool, resident_bytes: int) -> None:
        """What was found of the process, a moment ago."""
        self._of.ready.set(ready)
        self._of.resident_bytes.set(resident_bytes)
