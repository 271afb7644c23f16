"""Prometheus metrics of an engine."""

from collections.abc import Sequence
from time import time
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry

from diffes import __version__
from diffes.backends.buckets import pieces
from diffes.bundle import Bundle
from diffes.engine.observer import Ending, Outcome, StageOf, StepReport
from diffes.engine.request import Limits
from diffes.errors import FailureReason
from diffes.schedule import executed_steps
from diffes.serving.instruments import EngineInstruments
from diffes.serving.vitals import Vitals

_OUTCOMES: tuple[Outcome, ...] = ("done", "failed", "cancelled", "expired", "rejected")
_REJECTIONS = ("queue_full", "backlog", "deadline")
_WASTEFUL: tuple[Outcome, ...] = ("failed", "cancelled", "expired")


class Metrics:
    """An engine's observer. Make one per process; `prepare` it before the engine starts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._of = EngineInstruments(registry)
        self._backend = ""
        self._buckets: Sequence[int] = ()
        self._subgraph = ""  # of the last step

    def prepare(self, bundle: Bundle, backend: str, buckets: Sequence[int] = (), limits: Limits | None = None) -> None:
        """Create every series this bundle will have, at 0, so that rates start from the first request.

        `buckets` are the rows that the backend pads a call to.
        """
        self._backend, self._buckets = backend, buckets
        self._prepare_steps(bundle)
        self._prepare_requests(bundle)
        limits = limits or Limits()
        self._of.queue_limit.set(limits.queue)
        self._of.batch_limit.set(limits.batch)
        self._of.weight_bytes.labels("bundle").set(bundle.manifest.blob.bytes)
        self._of.weight_bytes.labels("dense").set(bundle.manifest.blob.dense_bytes)
        self._of.build.labels(__version__, bundle.id, bundle.default, backend).set(1)
        self.load(waiting=0, running=0)

    def load(self, *, waiting: int, running: int) -> None:
        """Requests in the queue, images between steps."""
        self._of.queue_depth.set(waiting)
        self._of.images_running.set(running)

    def admitted(self, queue_seconds: float) -> None:
        """A request left the queue."""
        self._of.queue_seconds.observe(queue_seconds)

    def conditioned(self, seconds: float) -> None:
        """The conditions of all steps of a request are calculated."""
        self._of.condition_seconds.observe(seconds)

    def stepped(self, step: StepReport) -> None:
        """A batch took one step."""
        self._of.step_rows.observe(step.rows)
        if step.gap_seconds is not None:
            self._of.step_gap_seconds.observe(step.gap_seconds)
        for stage, share in zip(step.stages, step.shares, strict=True):
            where = (stage.schedule, str(stage.stage))
            self._of.step_seconds.labels(*where, self._backend).observe(step.seconds)
            self._of.step_images.labels(*where).observe(step.images)
            self._of.steps.labels(*where).inc(share)
        if self._buckets:
            padded = sum(piece.bucket - (piece.end - piece.start) for piece in pieces(step.rows, self._buckets))
            self._of.padded_rows.labels(step.subgraph).inc(padded)
        if self._subgraph not in ("", step.subgraph):
            self._of.switches.labels(step.subgraph).inc()
        self._subgraph = step.subgraph
        self._of.last_step.set(time())

    def shrunk(self, most: int) -> None:
        """The device ran out of memory: fewer images go together."""
        self._of.batch_limit.set(most)

    def decoded(self, images: int, seconds: float) -> None:
        """Latents became pixels."""
        self._of.decode_seconds.observe(seconds)
        self._of.decoded_images.inc(images)

    def finished(self, ending: Ending) -> None:
        """A request got its answer, or its caller left."""
        schedule, outcome = ending.request.schedule, ending.outcome
        self._of.requests.labels(outcome).inc()
        self._of.request_seconds.labels(schedule, outcome).observe(ending.timings.total_seconds)
        if outcome == "done":
            self._of.images.labels(schedule).inc(ending.request.images)
        elif outcome == "rejected":
            self._of.rejected.labels(ending.reason).inc()
        elif outcome == "failed":
            self._of.failed.labels(ending.reason).inc()
        if ending.request.shed_from and outcome != "rejected":
            self._of.shed.labels(schedule).inc()
        if outcome in _WASTEFUL:
            self._of.wasted_steps.labels(outcome).inc(ending.steps)

    def felt(self, vitals: Vitals) -> None:
        """What was found of the process, a moment ago."""
        self._of.backlog_seconds.set(vitals.backlog_seconds)
        self._of.resident_bytes.set(vitals.resident_bytes)
        self._of.device_bytes.labels("allocated").set(vitals.allocated_bytes)
        self._of.device_bytes.labels("reserved").set(vitals.reserved_bytes)

    def _prepare_steps(self, bundle: Bundle) -> None:
        for stage in executed_stages(bundle):
            where = (stage.schedule, str(stage.stage))
            self._of.step_seconds.labels(*where, self._backend)
            self._of.step_images.labels(*where)
            self._of.steps.labels(*where)
        for subgraph in bundle.manifest.subgraphs:
            self._of.switches.labels(subgraph.id)
            self._of.padded_rows.labels(subgraph.id)

    def _prepare_requests(self, bundle: Bundle) -> None:
        for outcome in _OUTCOMES:
            self._of.requests.labels(outcome)
        for reason in _REJECTIONS:
            self._of.rejected.labels(reason)
        for reason in get_args(FailureReason):
            self._of.failed.labels(reason)
        for outcome in _WASTEFUL:
            self._of.wasted_steps.labels(outcome)
        for held in ("allocated", "reserved"):
            self._of.device_bytes.labels(held)
        for schedule in bundle.manifest.schedules:
            self._of.images.labels(schedule)
            self._of.shed.labels(schedule)
            for outcome in _OUTCOMES:
                self._of.request_seconds.labels(schedule, outcome)


def executed_stages(bundle: Bundle) -> list[StageOf]:
    """The stages that have steps under their schedule's own number of steps."""
    found = []
    for name, schedule in bundle.manifest.schedules.items():
        intervals = [(stage.high, stage.low) for stage in schedule.stages]
        counts = executed_steps(intervals, bundle.trajectory(schedule.sampler.steps, name).timesteps)
        found += [StageOf(name, index) for index, count in enumerate(counts) if count]
    return found
