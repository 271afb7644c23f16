import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from search.budget import Budget
from search.error_table import Errors
from search.evolution import Evolution, Moment
from search.genome import Genome
from search.memo import Memo

BUDGET = Budget(np.tile(np.arange(5) * 10, (8, 1)), dense=400, wanted=130)
GOAL = np.array([4, 0, 3, 0, 4, 0, 2, 0])
FLAT = np.zeros((8, 5))  # a table that knows nothing


class Judge:
    """Squared distance to a goal, remembered; counts what it really computes."""

    def __init__(self) -> None:
        self.memo = Memo()
        self.computed: list[Genome] = []

    def __call__(self, genome: Genome) -> float:
        if genome not in self.memo:
            self.computed.append(genome)
            self.memo.add(genome, float(((np.array(genome) - GOAL) ** 2).sum()))
        return self.memo[genome]


def first_moment(judge: Judge) -> Moment:
    random = np.random.RandomState(0)
    population = [tuple(BUDGET.repaired(np.full(8, 1), random).tolist()) for _ in range(10)]
    for genome in population:
        judge(genome)
    return Moment(0, population, len(judge.memo))


def evolution(judge: Judge, generations: int = 12, errors: Errors = FLAT) -> Evolution:
    return Evolution(BUDGET, errors, judge.memo, judge, elite=3, generations=generations, seed=7)


def whole_run() -> tuple[Judge, list[Moment]]:
    judge, moments = Judge(), list[Moment]()
    evolution(judge).run(first_moment(judge), moments.append)
    return judge, moments


def test_the_best_never_gets_worse_and_gets_better() -> None:
    judge, moments = whole_run()
    best = [min(judge.memo[genome] for genome in moment.population) for moment in moments]
    assert best == sorted(best, reverse=True)
    assert best[-1] < min(judge.memo[genome] for genome in first_moment(judge).population)


def test_every_genome_ever_evaluated_is_within_the_budget() -> None:
    judge, _ = whole_run()
    assert len(judge.computed) > 60
    assert all(BUDGET.feasible(genome) for genome in judge.computed)


def test_offspring_are_genomes_not_seen_before() -> None:
    judge, moments = whole_run()
    counts = [moment.evaluated for moment in moments]
    assert np.diff(counts).tolist() == [7] * 11
    assert len(judge.computed) == len(judge.memo)


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_going_on_after_a_generation_equals_never_having_stopped(stop: int) -> None:
    whole, moments = whole_run()
    judge, parts = Judge(), list[Moment]()
    evolution(judge, stop).run(first_moment(judge), parts.append)
    evolution(judge).run(json_again(parts[-1]), parts.append)
    assert parts == moments
    assert judge.memo.entries() == whole.memo.entries()


@pytest.mark.parametrize("after", [18, 30, 75])
def test_a_generation_cut_short_is_repeated_without_computing_anything_twice(after: int) -> None:
    whole, moments = whole_run()
    judge, parts = Judge(), list[Moment]()

    def until_cut(genome: Genome) -> float:
        if len(judge.computed) == after and genome not in judge.memo:
            raise KeyboardInterrupt
        return judge(genome)

    with pytest.raises(KeyboardInterrupt):
        replace(evolution(judge), evaluate=until_cut).run(first_moment(judge), parts.append)
    evolution(judge).run(json_again(parts[-1]), parts.append)
    assert parts == moments
    assert judge.computed == whole.computed


def json_again(moment: Moment) -> Moment:
    """What a checkpoint gives back: the generators have been through JSON."""
    return replace(moment, random=json.loads(json.dumps(moment.random)))


def test_a_genome_that_fails_does_not_survive() -> None:
    judge, moments = Judge(), list[Moment]()
    moment = first_moment(judge)
    judge.memo.add(moment.population[0], inf)
    evolution(judge).run(moment, moments.append)
    assert moment.population[0] not in moments[0].population


def test_a_table_that_knows_better_finds_better_schedules_as_fast() -> None:
    knowing = (np.arange(5) - GOAL[:, None]) ** 2.0
    best = []
    for errors in (knowing, FLAT):
        judge = Judge()
        evolution(judge, 3, errors).run(first_moment(judge), lambda _moment: None)
        best.append(judge.memo[judge.memo.best(1)[0]])
    assert best[0] < best[1]


def test_nothing_is_left_to_do_after_the_last_generation() -> None:
    judge, moments = Judge(), list[Moment]()
    evolution(judge, generations=0).run(first_moment(judge), moments.append)
    assert moments == []
