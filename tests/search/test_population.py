import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffes.schedule import BlockPlan
from search.budget import Budget
from search.genome import GenomeSpace
from search.knapsack import solve_knapsack
from search.population import PATTERNS, References, first_population, patterned
from tests.search.strategies import errors_for, searches

Search = tuple[GenomeSpace, Budget]
SPACE = GenomeSpace.of((BlockPlan(8, 128),) * 4, 10)
EVEN = Budget(np.tile(np.arange(9) * 10, (20, 1)), dense=2000, wanted=600)
BLOCKS = GenomeSpace.of((BlockPlan(8, 128),) * 4, 5, "block")
FINE = Budget(np.tile(np.arange(9) * 10, (40, 1)), dense=4000, wanted=1200)


@settings(deadline=None)  # a space of few genomes is drawn from until patience ends
@given(searches(), st.integers(0, 100), st.integers(4, 12))
def test_every_first_genome_is_feasible(search: Search, seed: int, size: int) -> None:
    space, budget = search
    random = np.random.RandomState(seed)
    errors = errors_for(budget, seed)
    references = References.of(errors, space, budget, random)
    genomes = first_population(references, errors, space, budget, size, random)
    assert len(genomes) == size
    assert all(budget.feasible(genome) for genome in genomes)


def test_the_knapsacks_answer_and_the_uniform_schedule_come_first() -> None:
    random = np.random.RandomState(0)
    errors = errors_for(EVEN, 0)
    references = References.of(errors, SPACE, EVEN, random)
    assert first_population(references, errors, SPACE, EVEN, 8, random)[:2] == [references.knapsack, references.uniform]
    assert references.knapsack == tuple(solve_knapsack(errors, EVEN).tolist())
    assert max(references.uniform) - min(references.uniform) <= 1


@pytest.mark.parametrize(("space", "budget"), [(SPACE, EVEN), (BLOCKS, FINE)], ids=["stages", "blocks"])
def test_the_first_genomes_differ(space: GenomeSpace, budget: Budget) -> None:
    random = np.random.RandomState(0)
    errors = errors_for(budget, 0)
    genomes = first_population(References.of(errors, space, budget, random), errors, space, budget, 16, random)
    assert len(set(genomes)) == 16


@given(searches(), st.integers(0, 100), st.sampled_from(sorted(PATTERNS)))
def test_every_pattern_is_feasible(search: Search, seed: int, name: str) -> None:
    space, budget = search
    assert budget.feasible(patterned(PATTERNS[name], space, budget, np.random.RandomState(seed)))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_costs_within_one_level_of_one_gene_of_the_budget(name: str) -> None:
    levels = patterned(PATTERNS[name], SPACE, EVEN, np.random.RandomState(0))
    assert 0 <= EVEN.saved(levels) - EVEN.wanted < 10


def test_a_ramp_up_prunes_clean_stages_more() -> None:
    levels = patterned(PATTERNS["ramp up"], SPACE, EVEN, np.random.RandomState(0))
    assert levels[0] < levels[-1]
    assert np.all(np.diff(levels[0::2]) >= -1)
