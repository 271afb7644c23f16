"""The evolution with two objectives: NSGA-II over a range of budgets."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.archive import archive_of
from search.budget_range import BudgetRange
from search.evolution import Evolution, Moment
from search.genome import Genome
from search.ladder import FrontLadder
from search.operators import Operators, RangeOperators
from search.population import as_genome
from search.surrogate import Surrogate
from tests.search.test_evolution import BUDGET, FLAT, SPACE, Probes, json_again

RANGE = BudgetRange(replace(BUDGET, wanted=60), replace(BUDGET, wanted=220))
WEIGHTS = np.array([5, 1, 4, 1, 3, 1, 2, 1])  # the front is to prune the light genes first


class Weighed(Probes):
    """A weighted sum of squared levels."""

    def __call__(self, genomes: Sequence[Genome]) -> None:
        known = len(self.rung.memo)
        super().__call__(genomes)
        for genome in self.rung.memo.first(len(self.rung.memo))[known:]:
            self.rung.memo.add(genome, float((WEIGHTS * np.array(genome) ** 2).sum()))


class Course:
    """Two rungs that agree, and the ladder to a front over them."""

    def __init__(self) -> None:
        self.few, self.more = Weighed(1, [0] * 8), Weighed(3, [0] * 8)
        self.ladder = FrontLadder((self.few.rung, self.more.rung), RANGE.counted)

    def evolution(self, generations: int = 10) -> Evolution:
        operators = RangeOperators(SPACE, RANGE)
        return Evolution(operators, Surrogate(FLAT), self.ladder, 6, generations, seed=7, saved=RANGE.counted)

    def begin(self) -> Moment:
        random = np.random.RandomState(0)
        population = [as_genome(budget.repaired(np.full(8, 1), random)) for budget in RANGE.grid(12)]
        return self.evolution().begin(population)


def whole_run() -> tuple[Course, list[Moment]]:
    course, moments = Course(), list[Moment]()
    course.evolution().run(course.begin(), moments.append)
    return course, moments


def front_of(genomes: Sequence[Genome], course: Course) -> list[tuple[int, float]]:
    judged = [(genome, course.ladder.memo[genome]) for genome in genomes if genome in course.ladder.memo]
    return [(point.saved, point.error) for point in archive_of(judged, RANGE.counted)]


def test_every_genome_ever_seen_is_within_the_range() -> None:
    course, moments = whole_run()
    assert len(course.few.computed) > 40
    assert all(RANGE.holds(genome) for genome in course.few.computed)
    assert all(len(moment.population) == 12 for moment in moments)


def test_the_archive_moves_towards_the_front_over_the_whole_range() -> None:
    course, _ = whole_run()
    first, last = (archive_of(course.ladder.memo.entries()[:count], RANGE.counted) for count in (12, None))
    for point in first:
        assert any(p.saved >= point.saved and p.error <= point.error for p in last)
    assert sum(p.error for p in last) / len(last) < sum(p.error for p in first) / len(first)
    assert last[-1].saved == RANGE.high.wanted


def test_the_survivors_of_a_generation_are_those_that_none_of_it_dominates() -> None:
    course, moments = whole_run()
    for before, after in zip(moments, moments[1:], strict=False):
        front, kept = front_of(before.population, course), front_of(after.population[:6], course)
        assert set(kept) <= set(front) if len(front) >= 6 else set(front) <= set(kept)


def test_few_of_the_dominated_are_run_on_all_probes() -> None:
    course, _ = whole_run()
    assert len(course.more.computed) < 0.9 * len(course.few.computed)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_going_on_after_a_generation_equals_never_having_stopped(stop: int) -> None:
    whole, moments = whole_run()
    course, parts = Course(), list[Moment]()
    course.evolution(stop).run(course.begin(), parts.append)
    course.evolution().run(json_again(parts[-1]), parts.append)
    assert parts == moments
    assert course.ladder.memo.entries() == whole.ladder.memo.entries()


def test_a_genome_that_fails_does_not_survive_whatever_it_saves() -> None:
    course, moments = Course(), list[Moment]()
    moment = course.begin()
    dearest = max(range(12), key=lambda index: RANGE.counted(moment.population[index]))
    objectives = [inf if index == dearest else value for index, value in enumerate(moment.objectives)]
    course.evolution(1).run(replace(moment, objectives=objectives), moments.append)
    assert moment.population[dearest] not in moments[0].population[:6]


@given(st.floats(-1e3, 1e5), st.floats(-1e3, 1e5))
def test_fitness_orders_errors_as_they_are_and_failures_last(error: float, other: float) -> None:
    evolution, genome = Course().evolution(), as_genome(RANGE.low.repaired((0,) * 8, np.random.RandomState(0)))
    (better, saved), (worse, _), failed = (evolution.fitness(genome, e) for e in (*sorted((error, other)), inf))  # type: ignore[misc]
    assert better >= worse > failed[0]  # type: ignore[index]
    assert saved == RANGE.counted(genome) > failed[1]  # type: ignore[index]


def test_without_a_second_objective_fitness_is_the_error_itself() -> None:
    operators = Operators(SPACE, BUDGET)
    evolution = Evolution(operators, Surrogate(FLAT), Course().ladder, 3, generations=1, seed=0)
    assert evolution.fitness((1,) * 8, 0.5) == -0.5
    assert evolution.fitness((1,) * 8, inf) == -inf
