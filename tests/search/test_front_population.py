from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffes.schedule import BlockPlan
from search.budget import Budget
from search.budget_range import BudgetRange
from search.front_population import FrontReferences, first_front
from search.genome import Genome, GenomeSpace
from search.knapsack import solve_knapsack
from tests.search.strategies import errors_for, front_searches

SPACE = GenomeSpace.of((BlockPlan(8, 128),) * 4, 10)
EVEN = Budget(np.tile(np.arange(9) * 10, (20, 1)), dense=2000, wanted=400)
RANGE = BudgetRange(EVEN, replace(EVEN, wanted=1200))


def first(space: GenomeSpace, budgets: BudgetRange, size: int, seed: int) -> tuple[FrontReferences, list[Genome]]:
    errors, random = errors_for(budgets.low, seed), np.random.RandomState(seed)
    references = FrontReferences.of(errors, space, budgets, size, random)
    return references, first_front(references, errors, space, budgets, size, random)


@settings(deadline=None)  # a space of few genomes is drawn from until patience ends
@given(front_searches(), st.integers(0, 100), st.integers(4, 20))
def test_every_first_genome_is_within_the_range(search: tuple[GenomeSpace, BudgetRange], seed: int, size: int) -> None:
    _, genomes = first(*search, size, seed)
    assert len(genomes) == size
    assert all(search[1].holds(genome) for genome in genomes)


def test_both_ends_of_the_range_are_covered_by_knapsacks_and_by_uniform_schedules() -> None:
    references, genomes = first(SPACE, RANGE, 16, 0)
    errors = errors_for(EVEN, 0)
    ends = [tuple(solve_knapsack(errors, budget).tolist()) for budget in (RANGE.low, RANGE.high)]
    assert list(references.knapsacks[:2]) == genomes[:2] == ends
    assert [EVEN.saved(genome) for genome in references.uniforms[:2]] == [400, 1200]
    assert all(max(genome) - min(genome) <= 1 for genome in references.uniforms)
    assert set(references.uniforms) <= set(genomes)


def test_the_first_genomes_differ_and_are_spread_over_the_range() -> None:
    _, genomes = first(SPACE, RANGE, 24, 0)
    assert len(set(genomes)) == 24
    shares = sorted(EVEN.saved(genome) for genome in genomes)
    assert max(np.diff(shares)) <= 200
