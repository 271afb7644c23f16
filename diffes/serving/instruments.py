"""Every metric of a service, declared: one prefix, base units, bucket edges at round values.

Several processes share one scrape through files (prometheus_client's multiprocess mode), so there is no Info metric,
and gauges say how processes add up: as levels (`livesum`), or as the worst or latest of all.
"""

from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_STEP_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_GAP_SECONDS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1)
_QUEUE_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

Mode = Literal["livesum", "livemax", "livemin", "max"]


class _Declared:
    """What processes of both kinds have, and how more is declared."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = self._counter("requests", "Requests by how they ended.", "status")

    def _resident(self) -> Gauge:
        told = "Resident memory of workers and engines; shared pages count for each."
        return self._gauge("resident_bytes", told, "livesum")

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"diffes_{name}_total", told, labels, registry=self._registry)

    def _histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"diffes_{name}", told, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, told: str, mode: Mode, *labels: str) -> Gauge:
        return Gauge(f"diffes_{name}", told, labels, registry=self._registry, multiprocess_mode=mode)


class FrontInstruments(_Declared):
    """A worker's, which talks HTTP; `docs/observability.md` lists them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.first_byte_seconds = self._histogram(
            "first_byte_seconds",
            "Time from a call to the first thing made of its images: a stream's first progress or preview, an answer.",
            _REQUEST_SECONDS,
            "kind",
        )
        self.lost = self._counter("lost", "Requests that were inside an engine whose process ended.")
        self.engine_starts = self._counter("engine_starts", "Processes of engines started, the first ones included.")
        self.ready = self._gauge("ready", "1 if requests are served, by every worker.", "livemin")
        self.resident_bytes = self._resident()


class EngineInstruments(_Declared):
    """An engine's; `docs/observability.md` lists them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._of_requests()
        self._of_steps()
        self._of_the_moment()

    def _of_requests(self) -> None:
        self.request_seconds = self._histogram(
            "request_seconds", "Time from arrival to answer.", _REQUEST_SECONDS, "schedule", "status"
        )
        self.queue_seconds = self._histogram("queue_seconds", "Time from arrival to admission.", _QUEUE_SECONDS)
        self.images = self._counter("images", "Images that were answered with.", "schedule")
        self.rejected = self._counter("rejected", "Requests refused for want of room, by what was full.", "reason")
        self.shed = self._counter("shed", "Requests served by a cheaper schedule than the default.", "schedule")
        self.failed = self._counter("failed", "Requests accepted and then failed, by where.", "reason")
        self.wasted_steps = self._counter(
            "wasted_steps", "Steps of images that nobody got, by how their request ended.", "status"
        )

    def _of_steps(self) -> None:
        self.step_seconds = self._histogram(
            "step_seconds",
            "Duration of one denoiser call, by each stage it served.",
            _STEP_SECONDS,
            "schedule",
            "stage",
            "backend",
        )
        self.step_gap_seconds = self._histogram(
            "step_gap_seconds",
            "Time from the end of a denoiser call to the start of the next, while there is work.",
            _GAP_SECONDS,
        )
        self.step_images = self._histogram(
            "step_images", "Images in one denoiser call, by each stage it served.", _ROWS, "schedule", "stage"
        )
        self.step_rows = self._histogram("step_rows", "Rows of one denoiser call; guidance doubles them.", _ROWS)
        self.steps = self._counter("steps", "Steps that images took, each image's counted.", "schedule", "stage")
        self.switches = self._counter("switches", "Denoiser calls of a subgraph after those of another.", "subgraph")
        self.padded_rows = self._counter("padded_rows", "Rows calculated beyond those asked for.", "subgraph")
        self.condition_seconds = self._histogram(
            "condition_seconds", "Duration of the condition call of one request.", _STEP_SECONDS
        )
        self.decode_seconds = self._histogram("decode_seconds", "Duration of one decoder call.", _STEP_SECONDS)
        self.decoded_images = self._counter("decoded_images", "Images and previews that were decoded.")

    def _of_the_moment(self) -> None:
        self.queue_depth = self._gauge("queue_depth", "Requests waiting for admission.", "livesum")
        self.queue_limit = self._gauge("queue_limit", "Requests that may wait for admission.", "livesum")
        self.images_running = self._gauge("images_running", "Images between two steps.", "livesum")
        self.batch_limit = self._gauge(
            "batch_limit", "Images that go together at most; less after a device ran out of memory.", "livemin"
        )
        self.backlog_seconds = self._gauge(
            "backlog_seconds",
            "Forecast of what all inside will take; of several engines the longest.",
            "livemax",
        )
        self.last_step = self._gauge(
            "last_step_timestamp_seconds", "When a step last ended, since 1970; 0 before the first.", "livemax"
        )
        self.resident_bytes = self._resident()
        self.device_bytes = self._gauge("device_bytes", "Memory that torch holds on CUDA devices.", "livesum", "kind")
        self.weight_bytes = self._gauge(
            "weight_bytes", "Weights: the bundle's one blob, and the dense model alone.", "max", "of"
        )
        build = ("version", "bundle", "schedule", "backend")
        self.build = self._gauge("build_info", "Always 1; the labels tell what runs.", "max", *build)
