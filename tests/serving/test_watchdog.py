"""A process that cannot serve any more ends."""

import threading
from functools import partial
from pathlib import Path
from queue import Queue

import pytest
from prometheus_client import CollectorRegistry

from diffes.backends.fake import FakeBackend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.errors import Closed
from diffes.manifest import MANIFEST
from diffes.serving.metrics import Metrics
from diffes.serving.runtime import Runtime
from diffes.serving.settings import Settings
from diffes.serving.watchdog import Watchdog
from diffes.serving.workers.place import Place
from tests.prompting import of_label
from tests.serving.waiting import wait_for


class HangingBackend(FakeBackend):
    """Once it hangs, steps wait for the gate."""

    hangs = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.inside = threading.Event()

    def denoise(self, *args: object) -> object:  # type: ignore[override]
        if self.hangs:
            self.inside.set()
            self.gate.wait(timeout=20)
        return super().denoise(*args)  # type: ignore[arg-type]


@pytest.fixture
def fake() -> HangingBackend:
    return HangingBackend()


@pytest.fixture
def runtime(bundle: Bundle, fake: HangingBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A runtime on the in-memory bundle that drains within a tenth of a second."""
    (tmp_path / MANIFEST).write_text(bundle.manifest.text())
    monkeypatch.setattr(Bundle, "open", classmethod(lambda _cls, folder: Bundle(folder, bundle.manifest)))
    monkeypatch.setattr("diffes.serving.runtime.open_backend", lambda *_: fake)
    settings = Settings(bundle=tmp_path, max_batch=1, drain_seconds=0.1)
    runtime = Runtime(settings, Metrics(CollectorRegistry()), Place(tmp_path, 1, 1))
    runtime.start()
    runtime.wait_until_started()
    return runtime


def own_engine(runtime: Runtime) -> Engine:
    assert runtime.engine is not None
    return runtime.engine


@pytest.fixture
def reasons(runtime: Runtime) -> Queue[str]:
    """What a watchdog of this runtime ends it for."""
    found: Queue[str] = Queue()
    Watchdog(partial(runtime.beyond_help, 0.2), every=0.05, end=found.put).start()
    return found


def test_an_engine_that_hangs_in_a_step_ends_the_process(
    runtime: Runtime, fake: HangingBackend, reasons: Queue[str]
) -> None:
    fake.hangs = True
    own_engine(runtime).submit(Request(prompt=of_label(0), seed=0))
    assert "its engine hangs" in reasons.get(timeout=10)
    fake.gate.set()


def test_an_engine_that_works_or_waits_does_not(runtime: Runtime, reasons: Queue[str]) -> None:
    engine = own_engine(runtime)
    for seed in range(3):
        engine.submit(Request(prompt=of_label(0), seed=seed)).result(timeout=10)
    wait_for(lambda: engine.heartbeat == 0)
    threading.Event().wait(0.5)
    assert reasons.empty()
    runtime.close()


def test_an_engine_whose_thread_has_ended_ends_the_process(runtime: Runtime, reasons: Queue[str]) -> None:
    own_engine(runtime).close()
    assert reasons.get(timeout=10) == "its engine has stopped"


def test_a_service_that_cannot_start_ends_and_says_why(runtime: Runtime) -> None:
    runtime._failure = RuntimeError("no such device")
    assert runtime.beyond_help(1) == "it could not start: no such device"


def test_what_is_not_done_within_the_time_to_drain_is_told_to_be_sent_again(
    runtime: Runtime, fake: HangingBackend
) -> None:
    fake.hangs = True
    future = own_engine(runtime).submit(Request(prompt=of_label(0), seed=0))
    assert fake.inside.wait(timeout=10)
    closing = threading.Thread(target=runtime.close)
    closing.start()
    threading.Timer(0.5, fake.gate.set).start()
    with pytest.raises(Closed, match="Send it again"):
        future.result(timeout=10)
    closing.join(timeout=10)
    assert fake.closed


def test_what_is_done_within_the_time_to_drain_is_answered(runtime: Runtime) -> None:
    futures = [own_engine(runtime).submit(Request(prompt=of_label(0), seed=seed)) for seed in range(2)]
    runtime.refuse()
    assert all(future.result(timeout=10) for future in futures)
    runtime.close()
