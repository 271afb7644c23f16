"""What a service really exposes."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from diffes.bundle import Bundle
from diffes.serving.metrics import Metrics
from diffes.serving.vitals import Vitals
from tests.engine.conftest import bundle

__all__ = ["bundle"]


@pytest.fixture(scope="session")
def exposed(bundle: Bundle) -> list[Metric]:
    """The metrics of a prepared registry."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.prepare(bundle, "0123456789abcdef", "memory")
    metrics.felt(Vitals(ready=True, backlog_seconds=0.0, resident_bytes=1))
    return list(registry.collect())
