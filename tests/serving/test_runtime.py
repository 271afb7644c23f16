"""From start to close without blocking the caller."""

import gc
import logging
import threading
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from diffes.backends.base import Conditions
from diffes.backends.fake import FakeBackend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.errors import Closed
from diffes.manifest import MANIFEST
from diffes.serving.metrics import Metrics
from diffes.serving.runtime import Runtime
from diffes.serving.settings import Settings
from diffes.serving.warmup import warm_rows, warm_up
from diffes.serving.workers.loads import Duty
from diffes.serving.workers.place import Place
from tests.prompting import of_label


class GatedBackend(FakeBackend):
    """Its first call waits for the gate."""

    gate: threading.Event

    def decode(self, latents: object) -> object:  # type: ignore[override]
        self.gate.wait(timeout=10)
        return super().decode(latents)  # type: ignore[arg-type]


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def fake(gate: threading.Event) -> GatedBackend:
    backend = GatedBackend()
    backend.gate = gate
    return backend


@pytest.fixture
def runtime(bundle: Bundle, fake: GatedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A runtime on the in-memory bundle; the fake stands for whatever backend is asked for."""
    (tmp_path / MANIFEST).write_text(bundle.manifest.text())
    monkeypatch.setattr(Bundle, "open", classmethod(lambda _cls, folder: Bundle(folder, bundle.manifest)))
    monkeypatch.setattr("diffes.serving.runtime.open_backend", lambda *_: fake)
    return Runtime(Settings(bundle=tmp_path, max_batch=2), Metrics(CollectorRegistry()), Place(tmp_path, 1, 1))


@pytest.fixture
def duty(tmp_path: Path) -> Duty:
    """What workers see of it."""
    return Duty(Place(tmp_path, 1, 1))


def engine_of(runtime: Runtime) -> Engine:
    """The one that serves."""
    assert runtime.engine is not None
    return runtime.engine


def test_it_is_not_ready_until_everything_has_run_once(
    runtime: Runtime, fake: GatedBackend, bundle: Bundle, gate: threading.Event, duty: Duty
) -> None:
    runtime.start()
    assert runtime.beyond_help(stall_seconds=0.001) is None
    assert not duty.is_ready
    gate.set()
    runtime.wait_until_started()
    assert duty.is_ready
    warmed = {(call.subgraph, call.rows) for call in fake.calls if call.method == "denoise"}
    assert warmed == {(subgraph.id, rows) for subgraph in bundle.manifest.subgraphs for rows in warm_rows(2)}
    assert engine_of(runtime).submit(Request(prompt=of_label(0), seed=0)).result(timeout=10).images.shape == (
        1,
        3,
        8,
        8,
    )
    runtime.close()


def test_while_it_serves_no_garbage_collection_looks_through_what_is_loaded(
    runtime: Runtime, gate: threading.Event
) -> None:
    gate.set()
    runtime.start()
    runtime.wait_until_started()
    assert gc.get_freeze_count() > len(gc.get_objects(generation=2))
    runtime.close()
    assert gc.get_freeze_count() == 0


def test_closing_frees_the_backend_and_refuses_what_comes_later(
    runtime: Runtime, fake: GatedBackend, gate: threading.Event, duty: Duty
) -> None:
    gate.set()
    runtime.start()
    runtime.wait_until_started()
    runtime.close()
    assert fake.closed
    assert not duty.is_ready
    with pytest.raises(Closed):
        engine_of(runtime).submit(Request(prompt=of_label(0), seed=0))


def test_who_is_told_to_refuse_while_it_warms_up_never_gets_ready(
    runtime: Runtime, gate: threading.Event, duty: Duty
) -> None:
    runtime.start()
    runtime.refuse()
    gate.set()
    runtime.wait_until_started()
    assert not duty.is_ready
    runtime.close()


def test_a_failed_start_is_beyond_help_and_says_why(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, duty: Duty
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr("diffes.serving.runtime.open_backend", refuse)
    runtime.start()
    runtime.wait_until_started()
    assert runtime.beyond_help(stall_seconds=1) == "it could not start: no such device"
    assert not duty.is_ready
    runtime.close()


def test_warm_up_covers_one_image_and_a_full_batch_plain_and_guided() -> None:
    assert warm_rows(8) == [1, 2, 4, 8, 16]
    assert warm_rows(3) == [1, 2, 3, 4, 6]


def test_warm_up_ends_with_requests_through_an_engine_that_many_images_go_through_together(bundle: Bundle) -> None:
    backend = FakeBackend()
    warm_up(bundle, backend, 3)
    stepped = [call.rows for call in backend.calls if call.method == "denoise"][-6:]
    assert stepped == [1, 2, 2, 4, 3, 6]  # unguided and guided
    decoded = [call.rows for call in backend.calls if call.method == "decode"][-6:]
    assert decoded == [1, 1, 2, 2, 3, 3]


class Slowed(FakeBackend):
    """Every row takes a second, or two from `slow` on for as long as half of all steps take in turn."""

    now = 0.0
    slow = 0.0

    def denoise(self, subgraph: str, latents: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        self.now += len(latents) * (2 if self.slow <= self.now < self.slow + sum(warm_rows(4)) else 1)
        return super().denoise(subgraph, latents, conditions)


@pytest.mark.parametrize("slow", range(0, 120, 10))
def test_what_many_rows_cost_beside_few_stays_true_if_the_machine_is_slow_for_a_while(
    bundle: Bundle, slow: int
) -> None:
    backend = Slowed()
    backend.slow = slow
    costs = warm_up(bundle, backend, 4, clock=lambda: backend.now)
    assert len(bundle.manifest.subgraphs) == 2
    for rows in warm_rows(4):
        assert {costs.seconds(subgraph.id, rows) for subgraph in bundle.manifest.subgraphs} == {rows}


class Broken(FakeBackend):
    """What it denoises is no number."""

    def denoise(self, subgraph: str, latents: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        return super().denoise(subgraph, latents, conditions) * float("nan")


def test_a_request_that_fails_in_warm_up_is_told_and_keeps_no_other_from_being_served(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        costs = warm_up(bundle, Broken(), 2)
    assert costs.known
    assert "warm-up with 2 images failed: stage 3 failed" in caplog.text


def test_warm_up_runs_every_bucket_that_a_batch_can_be_padded_to() -> None:
    assert warm_rows(3, (1, 2, 4, 8, 16, 32)) == [1, 2, 4, 8]
    assert warm_rows(4, (1, 2, 4, 8, 16, 32)) == [1, 2, 4, 8]
    assert warm_rows(3, (1, 2, 4, 6, 8)) == [1, 2, 4, 6]
    assert warm_rows(1) == [1, 2]
