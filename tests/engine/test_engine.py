"""The engine: who goes together, what is refused, and trouble stays with its own request."""

import gc
import math
import weakref
from concurrent.futures import CancelledError

import pytest
import torch
from torch import Tensor

from diffes.engine.observer import StageOf
from diffes.engine.request import MAX_SEED, Limits, Request, ResolvedRequest
from diffes.errors import EngineError, InvalidInput, Overloaded
from diffes.prompts import Prompt
from diffes.sizes import Size
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import MIXED, TOLERANCE, Recorder, drain, run
from tests.prompting import of_label


def test_requests_at_different_steps_of_one_subgraph_share_a_call(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    engine = engine_with()
    futures = [engine.submit(Request(prompt=of_label(0), seed=0, schedule="half"))]
    engine.step()
    futures.append(engine.submit(Request(prompt=of_label(1), seed=1, schedule="half")))
    engine.step()
    assert [rows for _, rows in backend.calls] == [2, 4]  # guidance doubles the rows
    drain(engine, *futures)


def test_no_call_is_larger_than_the_limit(engine_with: EngineFactory, backend: MemoryBackend) -> None:
    run(engine_with(Limits(batch=3)), *(Request(prompt=of_label(i), seed=i) for i in range(8)))
    assert max(rows for _, rows in backend.calls) == 2 * 3


def test_cancelling_a_request_drops_it_before_the_next_step_and_leaves_the_others(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    engine = engine_with()
    stays, leaves = engine.submit(MIXED[0]), engine.submit(Request(prompt=of_label(7), seed=9))
    engine.step()
    assert leaves.cancel()
    drain(engine, stays)
    assert [rows for _, rows in backend.calls] == [4, 2, 2, 2]
    (alone,) = run(engine_with(), MIXED[0])
    assert torch.allclose(stays.result().images, alone, atol=TOLERANCE)
    with pytest.raises(CancelledError):
        leaves.result()


def test_a_full_queue_refuses_and_a_cancelled_request_makes_room(engine_with: EngineFactory) -> None:
    engine = engine_with(Limits(queue=2))
    first, _ = engine.submit(MIXED[0]), engine.submit(MIXED[1])
    with pytest.raises(Overloaded, match="expected at most 2 waiting requests, found 2"):
        engine.submit(MIXED[3])
    first.cancel()
    assert not engine.submit(MIXED[3]).done()


def test_running_images_are_bounded_and_a_request_larger_than_the_bound_still_runs(engine_with: EngineFactory) -> None:
    observed = Recorder()
    engine = engine_with(Limits(running=2), observed)
    run(engine, *(Request(prompt=of_label(0), seed=i, images=1 + 2 * (i % 2)) for i in range(6)))
    assert max(running for _, running in observed.loads) == 3


def test_conditions_in_memory_are_bounded(engine_with: EngineFactory) -> None:
    observed = Recorder()
    engine = engine_with(Limits(conditions=2 * STEPS * 3), observed)
    run(engine, *(Request(prompt=of_label(0), seed=i) for i in range(5)))
    assert max(running for _, running in observed.loads) == 3


def test_a_subgraph_that_raises_fails_its_batch_alone(engine_with: EngineFactory, backend: MemoryBackend) -> None:
    def explode(subgraph: str, _rows: int) -> None:
        if subgraph == "step0":
            raise RuntimeError("out of memory")

    engine = engine_with()
    hit, spared = (
        engine.submit(Request(prompt=of_label(0), seed=0)),
        engine.submit(Request(prompt=of_label(0), seed=0, schedule="half")),
    )
    backend.before = explode
    drain(engine, hit, spared)
    with pytest.raises(EngineError, match="stage 0 failed on subgraph step0.*RuntimeError: out of memory"):
        hit.result()
    assert spared.result().images.isfinite().all()
    backend.before = lambda _subgraph, _rows: None
    assert run(engine, Request(prompt=of_label(0), seed=0))[0].isfinite().all()


def test_non_finite_output_fails_only_the_requests_it_belongs_to(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    def poison(output: Tensor) -> Tensor:
        output = output.clone()
        output[0, 0, 0, 0] = math.nan
        return output

    engine = engine_with()
    hit, spared = engine.submit(Request(prompt=of_label(0), seed=0)), engine.submit(Request(prompt=of_label(1), seed=1))
    backend.after = poison
    engine.step()
    backend.after = lambda output: output
    drain(engine, hit, spared)
    with pytest.raises(EngineError, match="stage 0 failed on subgraph step0: expected finite values"):
        hit.result()
    assert torch.allclose(
        spared.result().images, run(engine_with(), Request(prompt=of_label(1), seed=1))[0], atol=TOLERANCE
    )


@pytest.mark.parametrize("where", ["condition", "decode"])
def test_a_failing_condition_or_decoder_fails_its_request_alone(
    engine_with: EngineFactory, backend: MemoryBackend, where: str
) -> None:
    def explode(graph: str, rows: int) -> None:
        if graph == where and rows == {"condition": 2 * 6, "decode": 2}[where]:
            raise RuntimeError("broken")

    backend.before = explode
    engine = engine_with()
    hit, spared = (
        engine.submit(Request(prompt=of_label(0), seed=0, steps=6, images=2)),
        engine.submit(Request(prompt=of_label(1), seed=1)),
    )
    drain(engine, hit, spared)
    with pytest.raises(EngineError, match="broken"):
        hit.result()
    assert spared.result().images.isfinite().all()


def test_closing_drains_what_is_inside_and_refuses_what_comes_later(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    engine = engine_with()
    engine.start()
    futures = [engine.submit(request) for request in MIXED]
    engine.close()
    assert all(future.result(timeout=0).images.isfinite().all() for future in futures)
    assert backend.closed
    assert not engine.alive
    with pytest.raises(EngineError, match="closed"):
        engine.submit(MIXED[0])


def test_closing_without_draining_fails_what_is_left(engine_with: EngineFactory) -> None:
    engine = engine_with()
    futures = [engine.submit(request) for request in MIXED]
    engine.step()
    engine.close(drain=False)
    for future in futures:
        with pytest.raises(EngineError, match="closed before the request was done"):
            future.result(timeout=0)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_request_that_ends_holds_no_memory_until_a_garbage_collection(
    engine_with: EngineFactory, *, leaves: bool
) -> None:
    engine = engine_with()
    future = engine.submit(MIXED[0])
    inside = weakref.ref(future)  # which a job holds, as it holds its conditions on the device
    gc.disable()
    try:
        engine.step()
        if leaves:
            future.cancel()
            engine.step()
        else:
            drain(engine, future)
        del future
        assert inside() is None
    finally:
        gc.enable()


def test_an_error_of_the_engine_itself_leaves_no_caller_waiting(
    engine_with: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("diffes.engine.scheduling.StageScheduler.choose", broken)
    engine = engine_with()
    future = engine.submit(MIXED[0])
    engine.start()
    with pytest.raises(EngineError, match="stopped before the request was done"):
        future.result(timeout=10)


@pytest.mark.parametrize(
    ("request_", "field", "expected"),
    [
        (Request(prompt=Prompt({"tokens": 1}, {"tokens": 0}, {}), seed=0), "prompt", "labels"),
        (Request(prompt=of_label(0), seed=0, images=17), "n", "1..16"),
        (Request(prompt=of_label(0), seed=0, images=0), "n", "1..16"),
        (Request(prompt=of_label(0), seed=-1), "seed", f"0..{MAX_SEED}"),
        (Request(prompt=of_label(0), seed=MAX_SEED, images=2), "seed", f"0..{MAX_SEED - 1}"),
        (Request(prompt=of_label(0), seed=0, steps=0), "steps", "1..1000"),
        (Request(prompt=of_label(0), seed=0, steps=1001), "steps", "1..1000"),
        (Request(prompt=of_label(0), seed=0, guidance=0.5), "guidance", "0, which is none, or 1..20"),
        (Request(prompt=of_label(0), seed=0, guidance=math.nan), "guidance", "0, which is none, or 1..20"),
        (Request(prompt=of_label(0), seed=0, schedule="fast"), "schedule", "one of mixed, half"),
    ],
)
def test_a_request_out_of_range_is_refused_by_field_and_bound(
    engine_with: EngineFactory, request_: Request, field: str, expected: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        engine_with().submit(request_)
    assert (raised.value.field, raised.value.expected) == (field, expected)


def test_a_result_says_what_was_asked_and_where_the_time_went(engine_with: EngineFactory) -> None:
    engine = engine_with()
    future = engine.submit(Request(prompt=of_label(0), seed=3, images=2, id="x"))
    drain(engine, future)
    result = future.result()
    assert result.request == ResolvedRequest(
        prompt=of_label(0), seed=3, images=2, steps=STEPS, guidance=1.5, schedule="mixed", size=Size(8, 8), id="x"
    )
    stages = result.timings.stages
    assert [(stage.stage, stage.steps, stage.mean_batch) for stage in stages] == [(i, 1, 2.0) for i in range(4)]
    spent = sum(stage.seconds for stage in stages) + result.timings.queue_seconds
    assert 0 < spent <= result.timings.total_seconds


def test_an_observer_hears_of_every_step_and_every_outcome(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(Limits(queue=2), heard)
    done, left = (
        engine.submit(Request(prompt=of_label(0), seed=0)),
        engine.submit(Request(prompt=of_label(0), seed=0, schedule="half")),
    )
    with pytest.raises(Overloaded):
        engine.submit(Request(prompt=of_label(0), seed=1))
    left.cancel()
    drain(engine, done)
    assert heard.outcomes == [("mixed", "rejected"), ("half", "cancelled"), ("mixed", "done")]
    assert [step.stages for step in heard.steps] == [(StageOf("mixed", i),) for i in range(4)]
    assert [(step.images, step.rows) for step in heard.steps] == [(1, 2)] * 4
    assert (heard.waits, heard.conditions, heard.decoded_images) == (1, 1, [1])
    assert heard.loads[-1] == (0, 0)


def test_one_call_may_serve_stages_of_two_schedules(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard)
    first = engine.submit(Request(prompt=of_label(0), seed=0))
    engine.step()
    second = engine.submit(Request(prompt=of_label(0), seed=1, schedule="half", images=2))
    drain(engine, first, second)
    assert heard.steps[1].stages == (StageOf("mixed", 1), StageOf("half", 0))
    assert heard.steps[1].shares == (1, 2)


def test_the_backlog_is_the_steps_inside_at_the_speed_of_late(engine_with: EngineFactory) -> None:
    engine = engine_with(Limits(running=1))
    assert engine.backlog_seconds() == 0
    futures = [engine.submit(Request(prompt=of_label(0), seed=i)) for i in range(3)]
    engine.step()
    after_one = engine.backlog_seconds()
    drain(engine, *futures[:2])
    assert 0 < engine.backlog_seconds() < after_one * 10
    drain(engine, *futures)
    assert engine.backlog_seconds() == 0
