"""What a service really exposes."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from diffes.bundle import Bundle
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.metrics import Metrics
from diffes.serving.vitals import Vitals
from tests.engine.conftest import bundle

__all__ = ["bundle"]


@pytest.fixture(scope="session")
def exposed(bundle: Bundle) -> list[Metric]:
    """The metrics of a worker and of its engine."""
    registries = CollectorRegistry(), CollectorRegistry()
    worker, metrics = FrontMetrics(registries[0]), Metrics(registries[1])
    metrics.prepare(bundle, "memory")
    metrics.felt(Vitals(backlog_seconds=0.0, resident_bytes=1))
    worker.felt(ready=True, resident_bytes=1)
    metrics_of_both = {metric.name: metric for registry in registries for metric in registry.collect()}
    return list(metrics_of_both.values())
