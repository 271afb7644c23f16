"""A plan is decided before it runs: the same one, and the same one from its file, sends the same requests."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import Closed, Constant, Poisson
from loadtest.mix import Mix
from loadtest.plan import Plan
from tests.loadtest.test_arrivals import kinds
from tests.loadtest.test_mix import mixes

MIX = Mix(schedules={"fast": 1, "dense": 1}, steps={10: 1, "default": 1}, leave=0.5)


def plan(**other: Any) -> Plan:
    whole = Plan(id="run", seed=1, arrivals=Poisson(rate=20), seconds=10, mix=MIX, labels=10, patience=5)
    return whole.model_copy(update=other)


plans = st.builds(
    Plan,
    id=st.just("run"),
    seed=st.integers(0, 1000),
    arrivals=kinds() | st.builds(Closed, users=st.integers(1, 5), pause=st.floats(0, 1)),
    seconds=st.floats(0.1, 10),
    requests=st.none() | st.integers(1, 50),
    mix=mixes,
    labels=st.integers(1, 10),
    patience=st.floats(0.1, 100),
)


@given(plans)
def test_a_plan_says_the_same_every_time(made: Plan) -> None:
    assert list(islice(made.calls(), 50)) == list(islice(made.calls(), 50))


@given(plans)
def test_a_plan_from_its_file_is_the_same_and_says_the_same(made: Plan) -> None:
    read = Plan.model_validate_json(made.model_dump_json())
    assert read == made
    assert list(islice(read.calls(), 50)) == list(islice(made.calls(), 50))


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan().save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan()


@given(plans)
def test_calls_are_numbered_in_the_order_of_their_times(made: Plan) -> None:
    found = list(islice(made.calls(), 50))
    assert [call.number for call in found] == list(range(len(found)))
    assert [call.at for call in found] == sorted(call.at for call in found)
    assert all(call.asked.label < made.labels for call in found)


def test_another_seed_is_other_times_and_other_requests() -> None:
    one, other = (list(plan(seed=seed).calls()) for seed in (1, 2))
    assert {call.at for call in one}.isdisjoint(call.at for call in other)
    assert [call.asked for call in one[:50]] != [call.asked for call in other[:50]]


def test_what_is_asked_for_does_not_change_the_times_nor_the_times_what_is_asked_for() -> None:
    base, mixed, faster = plan(), plan(mix=Mix()), plan(arrivals=Poisson(rate=40))
    assert [call.at for call in base.calls()] == [call.at for call in mixed.calls()]
    assert [call.asked for call in base.calls()][:50] == [call.asked for call in faster.calls()][:50]


def test_an_open_plan_ends_with_its_time_or_its_requests() -> None:
    even = plan(arrivals=Constant(rate=4))
    assert [call.at for call in even.calls()][-1] == 9.75
    assert len(list(even.model_copy(update={"requests": 7}).calls())) == 7
    assert len(list(even.model_copy(update={"requests": 70}).calls())) == 40


def test_a_closed_plan_has_no_end_but_its_requests() -> None:
    closed = plan(arrivals=Closed(users=2), seconds=0.001)
    assert len(list(islice(closed.calls(), 1000))) == 1000
    assert len(list(closed.model_copy(update={"requests": 7}).calls())) == 7


def test_a_request_is_called_by_its_plan_and_number() -> None:
    assert plan().name(12) == "run-12"


@pytest.mark.parametrize("text", ["", "{}", "[1"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match="Plan"):
        Plan.load(tmp_path / "plan.json")
