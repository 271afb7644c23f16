"""What a scrape shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from diffes.bundle import Bundle
from diffes.engine.observer import Ending, StageOf, StepReport
from diffes.serving.metrics import Metrics, executed_stages, known_endpoints_only


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, bundle: Bundle) -> Metrics:
    metrics = Metrics(registry)
    metrics.prepare(bundle, "abc", "memory")
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
    for status in ("done", "failed", "cancelled", "expired", "rejected", "invalid"):
        assert registry.get_sample_value("diffes_requests_total", {"status": status}) == 0


def test_a_step_counts_for_every_stage_it_served_and_its_rows_once(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.stepped(StepReport("step0", (StageOf("mixed", 1), StageOf("half", 0)), images=3, rows=6, seconds=0.02))
    for schedule, stage in (("mixed", "1"), ("half", "0")):
        labels = {"schedule": schedule, "stage": stage, "backend": "memory"}
        assert registry.get_sample_value("diffes_step_seconds_sum", labels) == pytest.approx(0.02)
        assert registry.get_sample_value("diffes_step_seconds_bucket", labels | {"le": "0.02"}) == 1
    assert registry.get_sample_value("diffes_step_rows_count") == 1
    assert registry.get_sample_value("diffes_step_rows_sum") == 6


def test_requests_are_timed_by_schedule_and_outcome(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.finished(Ending("mixed", "done", 1.5, 4))
    metrics.finished(Ending("mixed", "cancelled", 0.1, 3))
    labels = {"schedule": "mixed", "status": "done"}
    assert registry.get_sample_value("diffes_request_seconds_sum", labels) == 1.5
    assert registry.get_sample_value("diffes_requests_total", {"status": "cancelled"}) == 1


def test_steps_that_nobody_got_an_image_of_are_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    for outcome in ("done", "cancelled", "expired", "failed", "cancelled"):
        metrics.finished(Ending("mixed", outcome, 1.0, 7))
    wasted = {
        outcome: registry.get_sample_value("diffes_wasted_steps_total", {"status": outcome})
        for outcome in ("done", "cancelled", "expired", "failed")
    }
    assert wasted == {"done": None, "cancelled": 14, "expired": 7, "failed": 7}


def test_a_rejection_says_what_was_full(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.finished(Ending("mixed", "rejected", 0.0, 0, "deadline"))
    reasons = {
        reason: registry.get_sample_value("diffes_rejected_total", {"reason": reason})
        for reason in ("queue_full", "backlog", "deadline")
    }
    assert reasons == {"queue_full": 0, "backlog": 0, "deadline": 1}


def test_build_and_weights_are_told(metrics: Metrics, registry: CollectorRegistry, bundle: Bundle) -> None:
    assert metrics
    text = generate_latest(registry).decode()
    assert 'diffes_build_info{backend="memory",bundle="abc",schedule="mixed"' in text
    assert registry.get_sample_value("diffes_weight_bytes", {"of": "bundle"}) == bundle.manifest.blob.bytes


def test_lines_of_unknown_endpoints_are_dropped_and_all_others_kept() -> None:
    kept = [
        '# HELP bento_total endpoint="/x"',
        'bento_total{endpoint="/generate",code="200"} 1.0',
        'bento_total{code="200",endpoint="/metrics"} 1.0',
        'diffes_requests_total{status="done"} 1.0',
    ]
    dropped = ['bento_total{endpoint="/wp-login.php"} 1.0', 'bento_total{code="404",endpoint="/a\\"b"} 1.0']
    text = "\n".join([*kept[:2], *dropped, *kept[2:]]) + "\n"
    assert known_endpoints_only(text, ["/generate", "/metrics"]) == "\n".join(kept) + "\n"


_KILLED_AND_RESPAWNED = """
import os, signal, sys
from prometheus_client import CollectorRegistry, multiprocess
from diffes.serving.metrics import Metrics, forget_dead_processes

def load():
    Metrics(CollectorRegistry()).load(waiting=3, running=0)

def depth():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry.get_sample_value("diffes_queue_depth")

if os.fork() == 0:
    load()
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
load()
before = depth()
forget_dead_processes()
sys.stdout.write(f"{before} {depth()}")
"""


def test_gauges_of_a_killed_worker_leave_the_sum(tmp_path: Path) -> None:
    """Multiprocess mode is chosen at prometheus_client's import, hence a process of its own."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _KILLED_AND_RESPAWNED], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "6.0 3.0"
