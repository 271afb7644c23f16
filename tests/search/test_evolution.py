import json
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from diffes.schedule import BlockPlan
from search.budget import Budget
from search.error_table import Errors
from search.evolution import Evolution, Moment
from search.genome import Genome, GenomeSpace
from search.ladder import Ladder, Rung
from search.memo import Memo
from search.operators import Operators
from search.surrogate import Surrogate

SPACE = GenomeSpace.of((BlockPlan(4, 64),), stages=4)
BUDGET = Budget(np.tile(np.arange(5) * 10, (8, 1)), dense=400, wanted=130)
GOAL = np.array([4, 0, 3, 0, 4, 0, 2, 0])
FLAT = np.zeros((8, 5))  # a table that knows nothing


class Probes:
    """Squared distance to a goal, remembered; counts what it really computes, and stops after some of it."""

    def __init__(self, probes: int, goal: Sequence[int]) -> None:
        self.goal = np.array(goal)
        self.computed: list[Genome] = []
        self.stop_after = inf
        self.rung = Rung(probes, Memo(), self)

    def __call__(self, genomes: Sequence[Genome]) -> None:
        for genome in genomes:
            if len(self.computed) == self.stop_after:
                self.stop_after = inf
                raise KeyboardInterrupt
            self.computed.append(genome)
            self.rung.memo.add(genome, float(((np.array(genome) - self.goal) ** 2).sum()))


class Course:
    """Two rungs that all but agree, and the ladder over them."""

    def __init__(self) -> None:
        self.few, self.more = Probes(1, (GOAL + 1).tolist()), Probes(3, GOAL.tolist())
        self.ladder = Ladder((self.few.rung, self.more.rung))

    def evolution(self, generations: int = 12, errors: Errors = FLAT) -> Evolution:
        operators = Operators(SPACE, BUDGET)
        return Evolution(operators, Surrogate(errors), self.ladder, elite=3, generations=generations, seed=7)

    def begin(self) -> Moment:
        random = np.random.RandomState(0)
        population = [tuple(BUDGET.repaired(np.full(8, 1), random).tolist()) for _ in range(10)]
        return self.evolution().begin(population)


def whole_run() -> tuple[Course, list[Moment]]:
    course, moments = Course(), list[Moment]()
    course.evolution().run(course.begin(), moments.append)
    return course, moments


def test_the_best_never_gets_worse_and_gets_better() -> None:
    _, moments = whole_run()
    best = [min(moment.objectives) for moment in moments]
    assert best == sorted(best, reverse=True)
    assert best[-1] < min(Course().begin().objectives)


def test_every_genome_ever_seen_is_within_the_budget() -> None:
    course, _ = whole_run()
    assert len(course.few.computed) > 60
    assert all(BUDGET.feasible(genome) for genome in course.few.computed)


def test_offspring_are_genomes_not_seen_before() -> None:
    course, moments = whole_run()
    assert np.diff([moment.seen for moment in moments]).tolist() == [7] * 11
    assert len(course.few.computed) == course.ladder.seen


def test_few_offspring_are_run_on_all_probes_and_none_of_the_others_survives() -> None:
    course, moments = whole_run()
    assert len(course.more.computed) < 0.7 * len(course.few.computed)
    for before, after in zip(moments, moments[1:], strict=False):
        survivors = sorted(before.objectives)[:3]
        assert max(survivors) < inf
        assert survivors == after.objectives[:3]


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_going_on_after_a_generation_equals_never_having_stopped(stop: int) -> None:
    whole, moments = whole_run()
    course, parts = Course(), list[Moment]()
    course.evolution(stop).run(course.begin(), parts.append)
    course.evolution().run(json_again(parts[-1]), parts.append)
    assert parts == moments
    assert course.ladder.memo.entries() == whole.ladder.memo.entries()


@pytest.mark.parametrize(("rung", "after"), [("few", 18), ("few", 30), ("few", 75), ("more", 15), ("more", 30)])
def test_a_generation_cut_short_is_repeated_without_computing_anything_twice(rung: str, after: int) -> None:
    whole, moments = whole_run()
    course, parts = Course(), list[Moment]()
    moment = course.begin()
    getattr(course, rung).stop_after = after
    with pytest.raises(KeyboardInterrupt):
        course.evolution().run(moment, parts.append)
    course.evolution().run(json_again(parts[-1] if parts else moment), parts.append)
    assert parts == moments
    assert course.few.computed == whole.few.computed
    assert course.more.computed == whole.more.computed


def json_again(moment: Moment) -> Moment:
    """What a checkpoint gives back: the generators have been through JSON."""
    return replace(moment, random=json.loads(json.dumps(moment.random)))


def test_a_genome_that_fails_does_not_survive() -> None:
    course, moments = Course(), list[Moment]()
    moment = course.begin()
    failed = replace(moment, objectives=[inf, *moment.objectives[1:]])
    course.evolution().run(failed, moments.append)
    assert moment.population[0] not in moments[0].population


def test_a_first_population_of_failures_can_be_bred_from() -> None:
    course, moments = Course(), list[Moment]()
    moment = course.begin()
    course.evolution(2).run(replace(moment, objectives=[inf] * len(moment.population)), moments.append)
    assert min(moments[-1].objectives) < inf


def test_a_surrogate_that_knows_better_finds_better_schedules_as_fast() -> None:
    knowing = (np.arange(5) - GOAL[:, None]) ** 2.0
    best = []
    for errors in (knowing, FLAT):
        course, moments = Course(), list[Moment]()
        course.evolution(3, errors).run(course.begin(), moments.append)
        best.append(min(moments[-1].objectives))
    assert best[0] < best[1]


def test_nothing_is_left_to_do_after_the_last_generation() -> None:
    course, moments = Course(), list[Moment]()
    course.evolution(generations=0).run(course.begin(), moments.append)
    assert moments == []
