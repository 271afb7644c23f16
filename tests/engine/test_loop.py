"""A device that goes on by itself: steps are launched before others have landed, and what it reports late is heeded."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from diffes.engine.request import Limits, Preview, Progress, Request
from diffes.errors import EngineError, OutOfMemory
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import MIXED, TOLERANCE, Recorder, drain, run
from tests.prompting import of_label


class LateMark:
    """Passed once it was waited for."""

    def __init__(self, at: float, land: Callable[[], None]) -> None:
        self.passed = False
        self._at = at
        self._land = land

    def wait(self) -> None:
        """As a device that is done at the last moment."""
        self.passed = True
        self._land()

    def since(self, earlier: "LateMark") -> float:
        """Both are waited for, or one before them was."""
        return self._at - earlier._at


class LateTimeline:
    """A device on which nothing is done before it is waited for; `fault` is raised then, and forever if it is lost."""

    def __init__(self) -> None:
        self.marks = 0
        self.fault: Exception | None = None
        self.lost = False
        self.freed = 0

    def adopt(self) -> None:
        """Any thread will do."""

    def mark(self) -> LateMark:
        """Not passed yet; a second after the one before."""
        self.marks += 1
        return LateMark(self.marks, self._land)

    def aside(self) -> AbstractContextManager[object]:
        """Here."""
        return nullcontext()

    def to_device(self, tensor: Tensor) -> Tensor:
        """It is there."""
        return tensor

    def to_host(self, tensor: Tensor) -> Tensor:
        """It is here."""
        return tensor

    def free(self) -> None:
        """Counted."""
        self.freed += 1

    def require_alive(self) -> None:
        """As a device whose context is gone."""
        if self.lost:
            raise RuntimeError("an illegal memory access was encountered")

    def _land(self) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault


@pytest.fixture
def timeline() -> LateTimeline:
    return LateTimeline()


def test_images_are_those_of_a_device_that_is_waited_for(engine_with: EngineFactory, timeline: LateTimeline) -> None:
    late = run(engine_with(timeline=timeline), *MIXED)
    for images, expected in zip(late, run(engine_with(), *MIXED), strict=True):
        assert torch.allclose(images, expected, atol=TOLERANCE)


def test_a_step_is_launched_while_one_is_under_way_and_no_more(
    engine_with: EngineFactory, backend: MemoryBackend, timeline: LateTimeline
) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard, timeline=timeline)
    future = engine.submit(Request(prompt=of_label(0), seed=0))
    ahead = []
    while not future.done():
        engine.step()
        ahead.append(len(backend.calls) - len(heard.steps))
    assert ahead == [1, 1, 1, 1, 0]
    assert [step.gap_seconds for step in heard.steps] == [
        None,
        2,
        2,
        2,
    ]  # seconds: marks stand after what follows a call, and before the next


def test_a_client_that_leaves_costs_no_step_besides_those_under_way(
    engine_with: EngineFactory, backend: MemoryBackend, timeline: LateTimeline
) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard, timeline=timeline)
    leaves = engine.submit(Request(prompt=of_label(0), seed=0))
    engine.step()
    engine.step()
    leaves.cancel()
    stays = engine.submit(Request(prompt=of_label(1), seed=1, guidance=1.0))
    drain(engine, stays)
    assert [rows for _, rows in backend.calls] == [2, 2, 1, 1, 1, 1]
    assert [(ending.outcome, ending.steps) for ending in heard.endings] == [("cancelled", 2), ("done", STEPS)]


def test_progress_and_previews_are_told_once_their_steps_have_landed(
    engine_with: EngineFactory, timeline: LateTimeline
) -> None:
    asked = Request(prompt=of_label(0), seed=0, images=2, previews=3)
    late, at_once = list[Progress | Preview](), list[Progress | Preview]()
    engine = engine_with(timeline=timeline)
    future = engine.submit(asked, late.append)
    engine.step()
    assert not late
    drain(engine, future)
    engine = engine_with()
    drain(engine, engine.submit(asked, at_once.append))
    assert [event for event in late if isinstance(event, Progress)] == [e for e in at_once if isinstance(e, Progress)]
    assert shown(late) == shown(at_once)


def shown(events: list[Progress | Preview]) -> list[tuple[int, int, list[float]]]:
    previews = [event for event in events if isinstance(event, Preview)]
    return [(event.image, event.index, event.pixels.flatten().tolist()) for event in previews]


def test_output_that_is_found_not_finite_a_step_late_fails_its_request_alone(
    engine_with: EngineFactory, backend: MemoryBackend, timeline: LateTimeline
) -> None:
    def poison(output: Tensor) -> Tensor:
        backend.after = lambda output: output
        return output.index_fill(0, torch.tensor([0]), torch.nan)

    engine = engine_with(timeline=timeline)
    hit, spared = engine.submit(Request(prompt=of_label(0), seed=0)), engine.submit(Request(prompt=of_label(1), seed=1))
    backend.after = poison
    drain(engine, hit, spared)
    with pytest.raises(EngineError, match="stage 0 failed on subgraph step0: expected finite values"):
        hit.result()
    assert torch.allclose(
        spared.result().images, run(engine_with(), Request(prompt=of_label(1), seed=1))[0], atol=TOLERANCE
    )


def test_what_a_device_reports_late_fails_the_step_it_belongs_to(
    engine_with: EngineFactory, timeline: LateTimeline
) -> None:
    engine = engine_with(timeline=timeline)
    hit = engine.submit(Request(prompt=of_label(0), seed=0))
    engine.step()
    timeline.fault = RuntimeError("device-side assert")
    drain(engine, hit)
    with pytest.raises(EngineError, match="stage 0 failed on subgraph step0.*device-side assert"):
        hit.result()
    assert run(engine, Request(prompt=of_label(0), seed=0))[0].isfinite().all()


def test_a_device_that_is_lost_ends_the_engine_and_leaves_no_caller_waiting(
    engine_with: EngineFactory, timeline: LateTimeline
) -> None:
    engine = engine_with(Limits(batch=1, running=2), timeline=timeline)
    futures = [engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(4)]
    timeline.fault, timeline.lost = RuntimeError("an illegal memory access was encountered"), True
    engine.start()
    for future in futures:
        with pytest.raises(EngineError):
            future.result(timeout=10)
    engine.close()
    assert not engine.alive


@pytest.mark.parametrize("error", [OutOfMemory("no room"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_batch_that_memory_does_not_suffice_for_goes_in_parts(
    engine_with: EngineFactory, backend: MemoryBackend, timeline: LateTimeline, error: Exception
) -> None:
    def short(graph: str, rows: int) -> None:
        if graph.startswith("step") and rows > 4:
            raise error

    heard = Recorder()
    backend.before = short
    engine = engine_with(Limits(batch=8), heard, timeline=timeline)
    futures = [engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(8)]
    drain(engine, *futures)
    assert heard.limits == [4, 2]
    assert timeline.freed == 2
    assert {ending.outcome for ending in heard.endings} == {"done"}
    backend.before = lambda _graph, _rows: None
    (alone,) = run(engine_with(), Request(prompt=of_label(0), seed=5))
    assert torch.allclose(futures[5].result().images, alone, atol=TOLERANCE)


def test_an_image_that_memory_does_not_suffice_for_by_itself_fails(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    def short(graph: str, _rows: int) -> None:
        if graph.startswith("step"):
            raise OutOfMemory("no room")

    heard = Recorder()
    backend.before = short
    engine = engine_with(observer=heard)
    future = engine.submit(Request(prompt=of_label(0), seed=0))
    drain(engine, future)
    with pytest.raises(EngineError, match="stage 0 failed on subgraph step0.*no room"):
        future.result()
    assert [ending.reason for ending in heard.endings] == ["out_of_memory"]
