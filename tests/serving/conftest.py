"""The app on an engine that computes the tiny model in memory, driven in-process."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Limits
from diffes.errors import NotReady
from diffes.serving.app import create_app
from diffes.serving.front import Served
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.keys import Keys
from diffes.serving.metrics import Metrics
from tests.engine.conftest import MemoryBackend, backend, bundle, model

__all__ = ["backend", "bundle", "model"]

BUNDLE_ID = "0123456789abcdef"  # of the bundle that has no files


class Warm:
    """A worker whose engine is in this process, and there from the start; tests may stop it from being ready."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._registries = CollectorRegistry(), CollectorRegistry()
        self.metrics = FrontMetrics(self._registries[0])
        metrics = Metrics(self._registries[1])
        metrics.prepare(bundle, backend.name)
        self.engine = Engine(bundle, backend, Limits(queue=2), metrics)
        self.ready = True
        self.keys = Keys()
        self._served = Served(bundle, backend.name, self.engine, "diffes", 1_700_000_000)

    def served(self) -> Served:
        if not self.ready:
            raise NotReady("not ready", expected="a warm engine", found="a service that is warming up")
        return self._served

    def count(self, name: str, **labels: str) -> float:
        """A sample's value, of the worker and the engine together; 0 where there is none."""
        return sum(registry.get_sample_value(name, labels) or 0.0 for registry in self._registries)


@pytest.fixture
def idle(bundle: Bundle, backend: MemoryBackend) -> Iterator[Warm]:
    """A runtime whose engine is not started: requests queue up."""
    runtime = Warm(bundle, backend)
    yield runtime
    runtime.engine.close(drain=False)


@pytest.fixture
def runtime(idle: Warm) -> Warm:
    """A runtime that serves."""
    idle.engine.start()
    return idle


def client_of(runtime: Warm) -> TestClient:
    """A client that sees what a remote one would see, also of bugs."""
    return TestClient(create_app(lambda: runtime), raise_server_exceptions=False)


@pytest.fixture
def client(runtime: Warm) -> Iterator[TestClient]:
    """A client of the running engine."""
    with client_of(runtime) as client:
        yield client
