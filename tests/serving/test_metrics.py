"""What a scrape shows."""

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from diffes.bundle import Bundle
from diffes.engine.observer import Ending, Outcome, StageOf, StepReport
from diffes.engine.request import ResolvedRequest, Timings
from diffes.serving.metrics import Metrics, executed_stages
from diffes.serving.vitals import Vitals
from diffes.sizes import Size
from tests.prompting import of_label


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, bundle: Bundle) -> Metrics:
    metrics = Metrics(registry)
    metrics.prepare(bundle, "memory")
    return metrics


def test_every_series_exists_at_zero_before_the_first_request(
    metrics: Metrics, registry: CollectorRegistry, bundle: Bundle
) -> None:
    assert metrics
    stages = executed_stages(bundle)
    assert stages == [*(StageOf("mixed", i) for i in range(4)), StageOf("half", 0), StageOf("half", 1)]
    for stage in stages:
        labels = {"schedule": stage.schedule, "stage": str(stage.stage), "backend": "memory"}
        assert registry.get_sample_value("diffes_step_seconds_count", labels) == 0
    for status in ("done", "failed", "cancelled", "expired", "rejected"):
        assert registry.get_sample_value("diffes_requests_total", {"status": status}) == 0


STAGES = (StageOf("mixed", 1), StageOf("half", 0))


def ending(outcome: Outcome, reason: str = "", *, seconds: float = 1.0, steps: int = 0, images: int = 1) -> Ending:
    request = ResolvedRequest(
        prompt=of_label(0), seed=0, images=images, steps=4, guidance=1.5, schedule="mixed", size=Size(8, 8)
    )
    return Ending(request, outcome, Timings(0.0, seconds, ()), steps, reason)


def step(subgraph: str, *, rows: int = 6) -> StepReport:
    return StepReport(subgraph, STAGES, images=3, rows=rows, seconds=0.02, shares=(1, 2))


def test_a_step_counts_for_every_stage_it_served_and_its_rows_once(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.stepped(step("step0"))
    for stage, share in zip(STAGES, (1, 2), strict=True):
        where = {"schedule": stage.schedule, "stage": str(stage.stage)}
        labels = where | {"backend": "memory"}
        assert registry.get_sample_value("diffes_step_seconds_sum", labels) == pytest.approx(0.02)
        assert registry.get_sample_value("diffes_step_seconds_bucket", labels | {"le": "0.02"}) == 1
        assert registry.get_sample_value("diffes_step_images_sum", where) == 3
        assert registry.get_sample_value("diffes_steps_total", where) == share
    assert registry.get_sample_value("diffes_step_rows_count") == 1
    assert registry.get_sample_value("diffes_step_rows_sum") == 6


def test_a_switch_is_a_call_of_another_subgraph_than_the_last(metrics: Metrics, registry: CollectorRegistry) -> None:
    for subgraph in ("step0", "step0", "step1", "step0"):
        metrics.stepped(step(subgraph))
    switches = [registry.get_sample_value("diffes_switches_total", {"subgraph": name}) for name in ("step0", "step1")]
    assert switches == [1, 1]


@pytest.mark.parametrize(("rows", "padded"), [(3, 1), (4, 0), (5, 3)])
def test_padding_is_what_the_backend_calculates_beyond_the_rows_asked_for(
    metrics: Metrics, registry: CollectorRegistry, bundle: Bundle, rows: int, padded: int
) -> None:
    metrics.stepped(step("step0", rows=rows))
    assert registry.get_sample_value("diffes_padded_rows_total", {"subgraph": "step0"}) == 0
    metrics.prepare(bundle, "memory", buckets=(1, 2, 4, 8))
    metrics.stepped(step("step0", rows=rows))
    assert registry.get_sample_value("diffes_padded_rows_total", {"subgraph": "step0"}) == padded


def test_the_last_step_has_a_time(metrics: Metrics, registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("diffes_last_step_timestamp_seconds") == 0
    before = time.time()
    metrics.stepped(step("step0"))
    assert before <= (registry.get_sample_value("diffes_last_step_timestamp_seconds") or 0) <= time.time()


def test_requests_are_timed_by_schedule_and_outcome(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.finished(ending("done", seconds=1.5, images=3))
    metrics.finished(ending("cancelled", "left", seconds=0.1))
    labels = {"schedule": "mixed", "status": "done"}
    assert registry.get_sample_value("diffes_request_seconds_sum", labels) == 1.5
    assert registry.get_sample_value("diffes_requests_total", {"status": "cancelled"}) == 1
    assert registry.get_sample_value("diffes_images_total", {"schedule": "mixed"}) == 3


def test_steps_that_nobody_got_an_image_of_are_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    outcomes: tuple[Outcome, ...] = ("done", "cancelled", "expired", "failed", "cancelled")
    for outcome in outcomes:
        metrics.finished(ending(outcome, "step", steps=7))
    wasted = {
        outcome: registry.get_sample_value("diffes_wasted_steps_total", {"status": outcome})
        for outcome in ("done", "cancelled", "expired", "failed")
    }
    assert wasted == {"done": None, "cancelled": 14, "expired": 7, "failed": 7}


def test_a_rejection_says_what_was_full(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.finished(ending("rejected", "deadline"))
    reasons = {
        reason: registry.get_sample_value("diffes_rejected_total", {"reason": reason})
        for reason in ("queue_full", "backlog", "deadline")
    }
    assert reasons == {"queue_full": 0, "backlog": 0, "deadline": 1}


def test_a_failure_says_where(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.finished(ending("failed", "not_finite"))
    reasons = {
        reason: registry.get_sample_value("diffes_failed_total", {"reason": reason})
        for reason in ("condition", "step", "not_finite", "decode", "stopped")
    }
    assert reasons == {"condition": 0, "step": 0, "not_finite": 1, "decode": 0, "stopped": 0}


def test_what_is_felt_of_the_process_is_shown(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.felt(Vitals(backlog_seconds=2.5, resident_bytes=100, allocated_bytes=30, reserved_bytes=40))
    assert registry.get_sample_value("diffes_backlog_seconds") == 2.5
    assert registry.get_sample_value("diffes_resident_bytes") == 100
    assert registry.get_sample_value("diffes_device_bytes", {"kind": "reserved"}) == 40


def test_build_and_weights_are_told(metrics: Metrics, registry: CollectorRegistry, bundle: Bundle) -> None:
    assert metrics
    text = generate_latest(registry).decode()
    assert 'diffes_build_info{backend="memory",bundle="0123456789abcdef",schedule="mixed"' in text
    assert registry.get_sample_value("diffes_weight_bytes", {"of": "bundle"}) == bundle.manifest.blob.bytes
