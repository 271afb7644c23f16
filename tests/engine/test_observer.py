"""What an engine tells of itself."""

import pytest

from diffes.engine.observer import Observer, Silent, Together
from diffes.engine.request import Limits, Origin, Request
from diffes.errors import EngineError, Overloaded
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import Recorder, drain
from tests.prompting import of_label


def test_every_observer_hears_what_a_single_one_hears(engine_with: EngineFactory) -> None:
    one, other = Recorder(), Recorder()
    engine = engine_with(observer=Together(one, other))
    drain(engine, engine.submit(Request(prompt=of_label(0), seed=0, images=2)))
    assert len(one.steps) == STEPS
    assert vars(one) == vars(other)


@pytest.mark.parametrize("kind", [Silent, Together])
def test_no_kind_of_observer_misses_a_thing_that_is_told(kind: type) -> None:
    assert {name for name in vars(Observer) if not name.startswith("_")} <= vars(kind).keys()


def test_an_ending_tells_who_asked_and_when_each_stage_began_and_ended(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard)
    origin = Origin(client_id="order-7", trace={"traceparent": "00-1-2-01"})
    drain(engine, engine.submit(Request(prompt=of_label(0), seed=0, id="img-1", origin=origin)))
    (ending,) = heard.endings
    assert (ending.request.id, ending.request.origin, ending.reason) == ("img-1", origin, "")
    stages = ending.timings.stages
    assert [(stage.stage, stage.subgraph) for stage in stages] == [(i, f"step{i % 2}") for i in range(4)]
    moments = [ending.timings.queue_seconds]
    moments += [moment for stage in stages for moment in (stage.began, stage.ended)]
    moments.append(ending.timings.total_seconds)
    assert moments == sorted(moments)


def test_a_request_that_leaves_on_the_way_tells_the_stages_it_was_in(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard)
    left, withdrawn = (engine.submit(Request(prompt=of_label(0), seed=i, id=f"img-{i}")) for i in range(2))
    engine.step()
    engine.step()
    left.cancel()
    assert engine.cancel("img-1")
    assert withdrawn.cancelled()
    assert [(ending.outcome, ending.reason) for ending in heard.endings] == [
        ("cancelled", "left"),
        ("cancelled", "withdrawn"),
    ]
    assert [(stage.stage, stage.steps) for stage in heard.endings[0].timings.stages] == [(0, 1), (1, 1)]


def test_what_never_came_in_was_in_the_queue_all_its_time(engine_with: EngineFactory) -> None:
    heard = Recorder()
    engine = engine_with(Limits(queue=1), heard)
    waits = engine.submit(Request(prompt=of_label(0), seed=0))
    with pytest.raises(Overloaded):
        engine.submit(Request(prompt=of_label(0), seed=1))
    waits.cancel()
    for ending in heard.endings:
        assert ending.timings.queue_seconds == ending.timings.total_seconds
        assert ending.timings.stages == ()


@pytest.mark.parametrize(("what", "reason"), [("condition", "condition"), ("step0", "step"), ("decode", "decode")])
def test_a_failure_tells_where_it_was(
    engine_with: EngineFactory, backend: MemoryBackend, what: str, reason: str
) -> None:
    def explode(called: str, _rows: int) -> None:
        if called == what:
            raise RuntimeError("out of luck")

    backend.before = explode
    heard = Recorder()
    engine = engine_with(observer=heard)
    failing = engine.submit(Request(prompt=of_label(0), seed=0))
    drain(engine, failing)
    assert isinstance(failing.exception(), EngineError)
    assert [(ending.outcome, ending.reason) for ending in heard.endings] == [("failed", reason)]


def test_numbers_that_are_none_and_a_close_are_failures_of_their_own(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    heard = Recorder()
    engine = engine_with(observer=heard)
    backend.after = lambda output: output * float("nan")
    drain(engine, engine.submit(Request(prompt=of_label(0), seed=0)))
    engine.submit(Request(prompt=of_label(0), seed=1))
    engine.close(drain=False)
    assert [ending.reason for ending in heard.endings] == ["not_finite", "stopped"]
