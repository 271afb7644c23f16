"""Callers that leave or run out of time: dropped before the next step, the others untouched, the waste counted."""

from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
import torch

from diffes.engine.costs import StepCosts
from diffes.engine.request import Limits, Request
from diffes.errors import Expired, InvalidInput, Overloaded
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import TOLERANCE, Recorder, drain, run
from tests.prompting import of_label

SECOND_A_STEP = {f"step{number}": {1: 1.0, 64: 1.0} for number in range(2)}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slow(backend: MemoryBackend, clock: Clock) -> MemoryBackend:
    """Every step takes a second."""

    def spend(graph: str, _rows: int) -> None:
        clock.now += graph.startswith("step")

    backend.before = spend
    return backend


def test_a_request_is_cancelled_by_its_id(engine_with: EngineFactory) -> None:
    engine = engine_with()
    stays, leaves = (engine.submit(Request(prompt=of_label(0), seed=seed, id=f"img-{seed}")) for seed in range(2))
    engine.step()
    assert engine.cancel("img-1")
    drain(engine, stays)
    with pytest.raises(CancelledError):
        leaves.result()
    (alone,) = run(engine_with(), Request(prompt=of_label(0), seed=0))
    assert torch.allclose(stays.result().images, alone, atol=TOLERANCE)


def test_an_id_that_is_not_inside_cancels_nothing(engine_with: EngineFactory) -> None:
    engine = engine_with()
    done = engine.submit(Request(prompt=of_label(0), seed=0, id="img-0"))
    drain(engine, done)
    assert not engine.cancel("img-0")
    assert not engine.cancel("img-1")
    assert not engine.cancel("")


def test_a_client_that_leaves_costs_no_further_step_and_what_it_had_is_counted_as_waste(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard)
    leaves = engine.submit(Request(prompt=of_label(0), seed=0, images=2))
    engine.step()
    engine.step()
    leaves.cancel()
    engine.step()
    assert len(backend.calls) == 2
    assert [(ending.outcome, ending.steps) for ending in heard.endings] == [("cancelled", 4)]


def test_a_request_is_dropped_once_its_time_does_not_suffice_and_the_rest_of_its_batch_goes_on(
    engine_with: EngineFactory, slow: MemoryBackend, clock: Clock
) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard, clock=clock)
    patient, hasty = (
        engine.submit(Request(prompt=of_label(0), seed=0)),
        engine.submit(Request(prompt=of_label(1), seed=1, timeout=2.5)),
    )
    drain(engine, patient, hasty)
    assert patient.result().images.isfinite().all()
    told = r"no longer be done in time: expected 2\.5 seconds, found 1 seconds, and 3 seconds of work left"
    with pytest.raises(Expired, match=told):
        hasty.result()
    assert [rows for _, rows in slow.calls] == [4, 2, 2, 2]
    assert [(ending.outcome, ending.steps) for ending in heard.endings] == [("expired", 1), ("done", STEPS)]


def test_a_waiting_request_expires_too(engine_with: EngineFactory, slow: MemoryBackend, clock: Clock) -> None:
    engine = engine_with(Limits(running=1), clock=clock)
    first, second = (
        engine.submit(Request(prompt=of_label(0), seed=0)),
        engine.submit(Request(prompt=of_label(0), seed=1, timeout=1.5)),
    )
    drain(engine, first, second)
    with pytest.raises(Expired):
        second.result()
    assert len(slow.calls) == STEPS


def test_what_cannot_be_done_in_time_by_forecast_is_refused_at_the_door(
    engine_with: EngineFactory, slow: MemoryBackend, clock: Clock
) -> None:
    heard = Recorder()
    engine = engine_with(Limits(batch=1), heard, costs=StepCosts(SECOND_A_STEP), clock=clock)
    engine.submit(Request(prompt=of_label(0), seed=0, timeout=STEPS + 0.5))
    with pytest.raises(Overloaded, match="cannot be done in time: expected 6 seconds or less, found a forecast of 8"):
        engine.submit(Request(prompt=of_label(0), seed=1, timeout=6.0))
    assert not engine.submit(Request(prompt=of_label(0), seed=1, timeout=9.0)).done()
    assert [ending.reason for ending in heard.endings] == ["deadline"]
    assert not slow.calls


def test_what_decoding_takes_of_late_is_part_of_the_forecast(
    engine_with: EngineFactory, slow: MemoryBackend, clock: Clock
) -> None:
    spend = slow.before

    def decode_slowly(graph: str, rows: int) -> None:
        spend(graph, rows)
        clock.now += 2 * (graph == "decode")

    slow.before = decode_slowly
    engine = engine_with(costs=StepCosts(SECOND_A_STEP), clock=clock)
    run(engine, Request(prompt=of_label(0), seed=0))
    with pytest.raises(Overloaded, match="expected 5 seconds or less, found a forecast of 6 seconds"):
        engine.submit(Request(prompt=of_label(0), seed=1, timeout=5.0))
    in_time = engine.submit(Request(prompt=of_label(0), seed=1, timeout=6.5))
    engine.step()
    clock.now += 1  # what was enough is not any more
    drain(engine, in_time)
    with pytest.raises(Expired, match="found 2 seconds, and 5 seconds of work left"):
        in_time.result()


def test_after_a_load_under_which_all_took_long_an_idle_engine_lets_in_who_it_has_served_in_time_before(
    engine_with: EngineFactory, slow: MemoryBackend, clock: Clock
) -> None:
    spend, seconds = slow.before, 1.0

    def decode_for(graph: str, rows: int) -> None:
        spend(graph, rows)
        clock.now += seconds * (graph == "decode")

    slow.before = decode_for
    engine = engine_with(Limits(batch=1), costs=StepCosts(SECOND_A_STEP), clock=clock)
    patient, hasty = Request(prompt=of_label(0), seed=0), Request(prompt=of_label(0), seed=1, timeout=STEPS + 2.5)
    run(engine, patient)
    seconds = 10.0
    run(engine, *[patient] * 20)
    seconds = 1.0
    waits = engine.submit(patient)
    with pytest.raises(Overloaded, match="cannot be done in time"):
        engine.submit(replace(hasty, timeout=2 * STEPS + 2.5))
    drain(engine, waits)
    for _ in range(50):
        run(engine, hasty)
    engine.submit(patient)
    engine.submit(replace(hasty, timeout=2 * STEPS + 2.5))


@pytest.mark.usefixtures("slow")
def test_after_requests_that_were_let_in_and_late_fewer_are_let_in_but_never_fewer_than_an_idle_engine_can_do(
    engine_with: EngineFactory, clock: Clock
) -> None:
    engine = engine_with(Limits(batch=1), costs=StepCosts(SECOND_A_STEP), clock=clock)
    ahead, hasty = Request(prompt=of_label(0), seed=0), Request(prompt=of_label(0), seed=1, timeout=2 * STEPS + 0.5)
    in_time = engine.submit(ahead), engine.submit(hasty)
    drain(engine, *in_time)
    assert in_time[1].result()
    for _ in range(5):
        late = engine.submit(ahead), engine.submit(replace(hasty, timeout=4 * STEPS))
        clock.now += 3 * STEPS  # in which nothing is done
        drain(engine, *late)
        with pytest.raises(Expired):
            late[1].result()
    drain(engine, engine.submit(replace(hasty, timeout=STEPS + 0.5)))
    engine.submit(ahead)
    with pytest.raises(Overloaded, match="cannot be done in time"):
        engine.submit(hasty)


@pytest.mark.usefixtures("slow")
def test_what_passes_between_two_steps_counts_as_theirs_but_not_while_there_is_nothing_to_do(
    engine_with: EngineFactory, clock: Clock
) -> None:
    def pause(_: object) -> None:
        clock.now += 1

    costs = StepCosts(SECOND_A_STEP)
    engine = engine_with(costs=costs, clock=clock)
    for seed in range(50):
        drain(engine, engine.submit(Request(prompt=of_label(0), seed=seed)))
        clock.now += 10
    assert costs.seconds("step0", 2) == pytest.approx(1.0)
    for seed in range(50):
        drain(engine, engine.submit(Request(prompt=of_label(0), seed=seed), pause))
    assert costs.seconds("step0", 2) == pytest.approx(2.0, rel=0.05)


def test_the_queue_is_bounded_in_seconds_of_forecast(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(Limits(batch=1, backlog=5), heard, costs=StepCosts(SECOND_A_STEP))
    for seed in range(2):
        engine.submit(Request(prompt=of_label(0), seed=seed))
    too_much = "too much is waiting: expected at most 5 seconds of work before it, found 8"
    with pytest.raises(Overloaded, match=too_much) as refusal:
        engine.submit(Request(prompt=of_label(0), seed=2))
    assert refusal.value.retry_after == 8  # when all that is inside is done
    assert [ending.reason for ending in heard.endings] == ["backlog"]


def test_what_is_inside_is_forecast_in_company(engine_with: EngineFactory) -> None:
    engine = engine_with(Limits(batch=4), costs=StepCosts(SECOND_A_STEP))
    for seed in range(8):
        engine.submit(Request(prompt=of_label(0), seed=seed))
    assert engine.backlog_seconds() == pytest.approx(8 * STEPS / 4)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_time_that_is_over_before_it_begins_is_refused(engine_with: EngineFactory, timeout: float) -> None:
    with pytest.raises(InvalidInput, match="invalid timeout_s: expected more than 0 seconds"):
        engine_with().submit(Request(prompt=of_label(0), seed=0, timeout=timeout))
