"""While much waits, who named no schedule is served by a cheaper one."""

import pytest
import torch

from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.request import Limits, Request
from diffes.engine.shedding import Shedding
from diffes.errors import InvalidInput
from tests.engine.conftest import STEPS, EngineFactory
from tests.engine.driving import TOLERANCE, drain, run
from tests.prompting import of_label

COSTS = {f"step{number}": {1: 1.0, 64: 1.0} for number in range(2)}
LIMITS = Limits(batch=1, shedding=Shedding("half", backlog=STEPS + 0.5))


@pytest.fixture
def engine(engine_with: EngineFactory) -> Engine:
    return engine_with(LIMITS, costs=StepCosts(COSTS))


def test_a_request_that_comes_while_much_waits_gets_the_cheaper_schedule_and_is_told(
    engine: Engine, engine_with: EngineFactory
) -> None:
    futures = [engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(3)]
    drain(engine, *futures)
    served = [(future.result().request.schedule, future.result().request.shed_from) for future in futures]
    assert served == [("mixed", ""), ("mixed", ""), ("half", "mixed")]
    (half,) = run(engine_with(), Request(prompt=of_label(0), seed=2, schedule="half"))
    assert torch.allclose(futures[2].result().images, half, atol=TOLERANCE)


def test_once_little_waits_the_default_is_back(engine: Engine) -> None:
    drain(engine, *(engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(3)))
    future = engine.submit(Request(prompt=of_label(0), seed=3))
    drain(engine, future)
    assert future.result().request.schedule == "mixed"


@pytest.mark.parametrize("options", [{"schedule": "mixed"}, {"deterministic": True}])
def test_who_named_a_schedule_or_wants_to_depend_on_nobody_is_spared(
    engine: Engine, options: dict[str, object]
) -> None:
    crowd = [engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(3)]
    future = engine.submit(Request(prompt=of_label(0), seed=9, **options))  # type: ignore[arg-type]
    drain(engine, future, *crowd)
    assert (future.result().request.schedule, future.result().request.shed_from) == ("mixed", "")


def test_nothing_is_shed_unless_it_is_asked_for(engine_with: EngineFactory) -> None:
    engine = engine_with(Limits(batch=1), costs=StepCosts(COSTS))
    futures = [engine.submit(Request(prompt=of_label(0), seed=seed)) for seed in range(5)]
    drain(engine, *futures)
    assert {future.result().request.schedule for future in futures} == {"mixed"}


@pytest.mark.parametrize(("schedule", "problem"), [("mixed", "removes more than"), ("fast", "one of mixed, half")])
def test_a_schedule_that_would_not_help_is_refused_at_the_start(
    engine_with: EngineFactory, schedule: str, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        engine_with(Limits(shedding=Shedding(schedule, 1.0)))


def test_the_cheaper_schedule_removes_more(bundle: Bundle) -> None:
    Shedding("half", 1.0).require_cheaper(bundle)
