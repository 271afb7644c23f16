"""Who goes together: nothing lost, nothing twice, nobody starved, and company only where it pays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffes.engine.costs import StepCosts
from diffes.engine.policies import POLICIES, FullestStage, LeastSlack, OldestFirst
from diffes.engine.scheduling import Image, Policy, Situation, StageScheduler, group_size
from diffes.engine.simulation import Arrival, simulate
from tests.engine.scenarios import At, constant, loads, path, proportional, tables


@dataclass(frozen=True)
class Watched:
    """A scheduler whose choices are checked."""

    scheduler: StageScheduler
    check: Callable[[Sequence[Any], Sequence[Any]], None]

    def choose(self, running: Sequence[Image], situation: Situation) -> list[Image]:
        batch = self.scheduler.choose(running, situation)
        self.check(running, batch)
        return batch


@settings(max_examples=10_000, deadline=None)
@given(loads(), tables(), st.sampled_from(sorted(POLICIES)), st.integers(1, 5), st.floats(0, 2), st.integers(1, 9))
def test_every_image_takes_every_step_once_and_in_order_and_nobody_starves(
    load: list[Arrival], costs: StepCosts, name: str, most: int, offered: float, patience: int
) -> None:
    policy = POLICIES[name](costs, most)
    if not isinstance(policy, OldestFirst):
        policy = replace(policy, patience=patience)  # type: ignore[type-var]
    taken: dict[int, list[int]] = {id(image): [] for image in load}
    bound = patience + len(load) if name in ("fullest", "slack") else (patience + 1) * sum(len(i.keys) for i in load)

    def check(running: Sequence[Arrival], batch: Sequence[Arrival]) -> None:
        assert 1 <= len(batch) == len(set(map(id, batch))) <= most
        assert len({image.key for image in batch}) == 1
        assert len(batch) == 1 or not any(image.alone for image in batch)
        assert all(any(image is other for other in running) for image in batch)
        assert all(image.passed_over <= bound for image in running)
        for image in batch:
            taken[id(image)].append(image.step)

    simulate(load, Watched(StageScheduler(policy, costs, most), check), costs, offered)
    for image in load:
        assert taken[id(image)] == list(range(len(image.keys)))
        assert image.at < image.done_at < inf


@pytest.mark.parametrize("policy", [FullestStage(patience=3), LeastSlack(constant(a=1, b=1), patience=3)])
def test_who_was_passed_over_too_often_goes_next(policy: Policy) -> None:
    """One image on b, never due, among an endless crowd on a that is."""
    crowd = [Arrival(0.5 * n, path("a"), due=0.5 * n) for n in range(100)]
    loner = Arrival(0, path("b"))
    costs = constant(a=1, b=1)
    simulate([loner, *crowd], StageScheduler(policy, costs, 1), costs)
    assert loner.done_at <= 3 + 2


def test_nobody_waits_longer_than_elders_need_when_the_oldest_goes_first() -> None:
    costs = constant(a=1, b=1)
    load = [Arrival(0, path("a", "b") * (1 + n % 3)) for n in range(9)]
    simulate(load, StageScheduler(OldestFirst(), costs, 2), costs)
    ends = [image.done_at for image in load]
    for place, end in enumerate(ends):
        assert end <= sum(len(image.keys) for image in load[: place + 1])


def test_nothing_to_run_is_an_empty_batch() -> None:
    assert StageScheduler(OldestFirst(), constant(a=1), 8).choose([], Situation(0, 0)) == []


def test_company_that_costs_nothing_is_always_taken() -> None:
    assert group_size(path("a"), 0, constant(a=1), available=7, inside=7, load=0) == 7
    assert group_size(path("a"), 0, StepCosts({}), available=7, inside=7, load=0) == 7


def test_company_that_saves_nothing_is_never_taken() -> None:
    for inside in (2, 10, 1000):
        for load in (0, 0.5, 0.99):
            assert group_size(path("a"), 0, proportional(a=1), available=4, inside=inside, load=load) == 1


def test_a_small_saving_is_taken_only_where_many_wait_or_come() -> None:
    """Two together take 1.8 times as long as one: of two images both would be done after 1.8 instead of 1 and 2."""
    costs = StepCosts({"a": {2: 1.0, 4: 1.8}})
    assert group_size(path("a"), 0, costs, available=2, inside=2, load=0) == 1
    assert group_size(path("a"), 0, costs, available=2, inside=20, load=0) == 2
    assert group_size(path("a"), 0, costs, available=2, inside=2, load=0.95) == 2


def test_groups_go_by_all_the_steps_that_they_have_left() -> None:
    """Two together save much in one stage and nothing in the other: a third on average, whichever comes first."""
    costs = StepCosts({"a": {2: 1.0, 4: 1.0}, "b": {2: 2.0, 4: 4.0}})
    for steps in ("ab", "ba"):
        assert group_size(path(*steps), 0, costs, available=2, inside=2, load=0) == 1
        assert group_size(path(*steps), 0, costs, available=2, inside=20, load=0) == 2
    assert group_size(path("a", "b"), 1, costs, available=2, inside=20, load=0) == 1
    assert group_size(path("b", "a"), 1, costs, available=2, inside=2, load=0) == 2


def test_who_meets_others_for_one_step_alone_goes_by_its_cost() -> None:
    costs, way = StepCosts({"a": {2: 1.0, 4: 1.0}, "b": {2: 9.0, 4: 18.0}}), path(*"aab")
    ahead, behind = At(1, way), At(0, way)
    assert chosen([ahead, behind], costs) == [ahead, behind]
    first, second = At(0, way), At(0, way)
    assert chosen([first, second], costs) == [first]


def test_a_bucket_is_filled_before_the_next_one_is_begun() -> None:
    costs = StepCosts({"a": {2: 1.0, 4: 1.2, 8: 2.0}}, buckets=(2, 4, 8))
    assert group_size(path("a"), 0, costs, available=3, inside=3, load=0) == 2  # a third would pay for four
    assert group_size(path("a"), 0, costs, available=4, inside=40, load=0) == 4


# two together are cheap, more save nothing
SAVING = StepCosts({name: {2: 1.0, 4: 1.2, 6: 1.9, 16: 5.0} for name in "abcd"})


def chosen(images: list[At], costs: StepCosts = SAVING, most: int = 4) -> list[At]:
    return StageScheduler(OldestFirst(), costs, most).choose(images, Situation(0, 0))


def test_of_those_who_have_not_begun_as_many_go_as_pays() -> None:
    crowd = [At(0) for _ in range(4)]
    assert chosen(crowd) == crowd[:2]


def test_who_took_a_step_together_goes_on_together() -> None:
    group = [At(1) for _ in range(4)]
    assert chosen(group) == group


def test_a_group_is_not_joined_by_a_part_of_another_or_of_a_crowd() -> None:
    group = [At(3) for _ in range(2)]
    assert chosen([*group, *(At(1) for _ in range(3))], constant(a=1)) == group
    assert chosen([*group, *(At(0) for _ in range(3))], constant(a=1)) == group


def test_a_group_is_joined_by_all_of_another_if_there_is_room_and_it_pays() -> None:
    group, other = [At(3)], [At(1, passed_over=1)]
    assert chosen([*group, *other]) == [*group, *other]
    assert chosen([*group, *other], proportional(a=1)) == group


def test_those_who_met_at_a_step_are_two_groups_until_they_take_one_together() -> None:
    group, other = [At(3) for _ in range(3)], [At(3, passed_over=1) for _ in range(2)]
    assert chosen([*group, *other], constant(a=1)) == group
    assert chosen([*group, other[0]], constant(a=1)) == [*group, other[0]]


def test_images_of_one_request_begin_together_if_that_costs_less() -> None:
    own, other = [At(0, request="own") for _ in range(4)], At(0)
    assert chosen([*own, other]) == own
    assert chosen([*own, other], constant(a=1)) == own  # four is all that there is room for
    assert chosen([*own, other], proportional(a=1, b=1, c=1, d=1)) == own[:1]
    assert chosen([*own, other], most=3) == own[:3]
