"""Prometheus metrics of the engine: one prefix, base units, bucket edges at round values.

Several processes share one scrape through files (prometheus_client's multiprocess mode), so there is no Info metric,
and gauges say how processes add up.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from diffes import __version__
from diffes.bundle import Bundle
from diffes.engine.observer import Ending, Outcome, StageOf, StepReport
from diffes.schedule import executed_steps

_STEP_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_QUEUE_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_OUTCOMES: tuple[Outcome, ...] = ("done", "failed", "cancelled", "expired", "rejected")
_REJECTIONS = ("queue_full", "backlog", "deadline")
_WASTEFUL: tuple[Outcome, ...] = ("failed", "cancelled", "expired")


class Metrics:
    """An engine's observer. Make one per process; `prepare` it before the engine starts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._backend = ""
        self._steps = Histogram(
            "diffes_step_seconds",
            "Duration of one denoiser call, by each stage it served.",
            ["schedule", "stage", "backend"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self._rows = Histogram(
            "diffes_step_rows", "Rows of one denoiser call; guidance doubles them.", buckets=_ROWS, registry=registry
        )
        self._queue = Histogram(
            "diffes_queue_seconds", "Time from arrival to admission.", buckets=_QUEUE_SECONDS, registry=registry
        )
        self._requests = Histogram(
            "diffes_request_seconds",
            "Time from arrival to answer.",
            ["schedule", "status"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._total = Counter("diffes_requests_total", "Requests by how they ended.", ["status"], registry=registry)
        self._rejected = Counter(
            "diffes_rejected_total",
            "Requests refused for want of room, by what was full.",
            ["reason"],
            registry=registry,
        )
        self._wasted = Counter(
            "diffes_wasted_steps_total",
            "Steps of images that nobody got, by how their request ended.",
            ["status"],
            registry=registry,
        )
        self._waiting = _gauge("diffes_queue_depth", "Requests waiting for admission.", registry)
        self._running = _gauge("diffes_images_running", "Images between two steps.", registry)
        self._weights = _constant(
            "diffes_weight_bytes", "Weights: the bundle's one blob, and the dense model alone.", ["of"], registry
        )
        build = ["version", "bundle", "schedule", "backend"]
        self._build = _constant("diffes_build_info", "Always 1; the labels tell what runs.", build, registry)

    def prepare(self, bundle: Bundle, bundle_id: str, backend: str) -> None:
        """Create every series this bundle will have, at 0, so that rates start from the first request."""
        self._backend = backend
        for stage in executed_stages(bundle):
            self._steps.labels(stage.schedule, str(stage.stage), backend)
        for status in (*_OUTCOMES, "invalid"):
            self._total.labels(status)
        for reason in _REJECTIONS:
            self._rejected.labels(reason)
        for outcome in _WASTEFUL:
            self._wasted.labels(outcome)
        for schedule in bundle.manifest.schedules:
            for outcome in _OUTCOMES:
                self._requests.labels(schedule, outcome)
        self._weights.labels("bundle").set(bundle.manifest.blob.bytes)
        self._weights.labels("dense").set(bundle.manifest.blob.dense_bytes)
        self._build.labels(__version__, bundle_id, bundle.default, backend).set(1)
        self.load(waiting=0, running=0)

    def load(self, *, waiting: int, running: int) -> None:
        """Requests in the queue, images between steps."""
        self._waiting.set(waiting)
        self._running.set(running)

    def admitted(self, queue_seconds: float) -> None:
        """A request left the queue."""
        self._queue.observe(queue_seconds)

    def stepped(self, step: StepReport) -> None:
        """A batch took one step."""
        self._rows.observe(step.rows)
        for stage in step.stages:
            self._steps.labels(stage.schedule, str(stage.stage), self._backend).observe(step.seconds)

    def finished(self, ending: Ending) -> None:
        """A request got its answer, or its caller left."""
        self._total.labels(ending.outcome).inc()
        self._requests.labels(ending.schedule, ending.outcome).observe(ending.seconds)
        if ending.outcome == "rejected":
            self._rejected.labels(ending.reason).inc()
        elif ending.outcome in _WASTEFUL:
            self._wasted.labels(ending.outcome).inc(ending.steps)

    def invalid(self) -> None:
        """A request was refused before the engine saw it."""
        self._total.labels("invalid").inc()


def _gauge(name: str, documentation: str, registry: CollectorRegistry) -> Gauge:
    """A level of this moment; workers add up."""
    return Gauge(name, documentation, registry=registry, multiprocess_mode="livesum")


def _constant(name: str, documentation: str, labels: list[str], registry: CollectorRegistry) -> Gauge:
    """A fact that all workers share."""
    return Gauge(name, documentation, labels, registry=registry, multiprocess_mode="max")


def executed_stages(bundle: Bundle) -> list[StageOf]:
    """The stages that have steps under their schedule's own number of steps."""
    found = []
    for name, schedule in bundle.manifest.schedules.items():
        intervals = [(stage.high, stage.low) for stage in schedule.stages]
        counts = executed_steps(intervals, bundle.trajectory(schedule.sampler.steps, name).timesteps)
        found += [StageOf(name, index) for index, count in enumerate(counts) if count]
    return found


def known_endpoints_only(text: str, endpoints: Iterable[str]) -> str:
    """A scrape without the lines of other endpoints: a scanner's paths must not become series."""
    known = set(endpoints)
    lines = (line for line in text.splitlines(keepends=True) if _endpoint(line) in known | {None})
    return "".join(lines)


def _endpoint(line: str) -> str | None:
    found = re.search(r'[{,]endpoint="((?:[^"\\]|\\.)*)"', line)
    return found.group(1) if found else None


def forget_dead_processes() -> None:
    """Take gauges of killed workers out of the sums; a respawned worker calls this first."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = int(file.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
