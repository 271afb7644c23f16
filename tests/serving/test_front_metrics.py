"""What a scrape shows of a worker."""

import pytest
from prometheus_client import CollectorRegistry

from diffes.serving.front_metrics import FrontMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> FrontMetrics:
    return FrontMetrics(registry)


def test_every_series_is_there_from_the_start(metrics: FrontMetrics, registry: CollectorRegistry) -> None:
    assert metrics
    assert registry.get_sample_value("diffes_requests_total", {"status": "invalid"}) == 0
    for kind in ("answer", "stream"):
        assert registry.get_sample_value("diffes_first_byte_seconds_count", {"kind": kind}) == 0
    for name in ("diffes_lost_total", "diffes_engine_starts_total", "diffes_ready"):
        assert registry.get_sample_value(name) == 0


def test_what_no_engine_hears_of_is_counted(metrics: FrontMetrics, registry: CollectorRegistry) -> None:
    metrics.invalid()
    metrics.first_byte("stream", 0.25)
    metrics.lost()
    metrics.engine_started()
    assert registry.get_sample_value("diffes_requests_total", {"status": "invalid"}) == 1
    assert registry.get_sample_value("diffes_first_byte_seconds_sum", {"kind": "stream"}) == 0.25
    assert registry.get_sample_value("diffes_lost_total") == 1
    assert registry.get_sample_value("diffes_engine_starts_total") == 1


def test_what_is_felt_of_the_process_is_shown(metrics: FrontMetrics, registry: CollectorRegistry) -> None:
    metrics.felt(ready=True, resident_bytes=100)
    assert registry.get_sample_value("diffes_ready") == 1
    assert registry.get_sample_value("diffes_resident_bytes") == 100
