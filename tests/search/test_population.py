import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.budget import Budget
from search.knapsack import solve_knapsack
from search.population import PATTERNS, References, first_population, patterned
from tests.search.strategies import budgets

EVEN = Budget(np.tile(np.arange(9) * 10, (20, 1)), dense=2000, wanted=600)


def rising_errors(budget: Budget, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    growth = np.random.RandomState(seed).random_sample(budget.savings.shape)
    growth[:, 0] = 0
    return np.cumsum(growth, axis=1)


@given(budgets(), st.integers(0, 100), st.integers(4, 12))
def test_every_first_genome_is_feasible(budget: Budget, seed: int, size: int) -> None:
    random = np.random.RandomState(seed)
    errors = rising_errors(budget, seed)
    genomes = first_population(References.of(errors, budget, random), errors, budget, size, random)
    assert len(genomes) == size
    assert all(budget.feasible(genome) for genome in genomes)


def test_the_knapsacks_answer_and_the_uniform_schedule_come_first() -> None:
    random = np.random.RandomState(0)
    errors = rising_errors(EVEN)
    references = References.of(errors, EVEN, random)
    assert first_population(references, errors, EVEN, 8, random)[:2] == [references.knapsack, references.uniform]
    assert references.knapsack == tuple(solve_knapsack(errors, EVEN).tolist())
    assert max(references.uniform) - min(references.uniform) <= 1


def test_the_first_genomes_differ() -> None:
    random = np.random.RandomState(0)
    errors = rising_errors(EVEN)
    genomes = first_population(References.of(errors, EVEN, random), errors, EVEN, 16, random)
    assert len(set(genomes)) == 16


@given(budgets(), st.integers(0, 100), st.sampled_from(sorted(PATTERNS)))
def test_every_pattern_is_feasible(budget: Budget, seed: int, name: str) -> None:
    assert budget.feasible(patterned(PATTERNS[name], budget, np.random.RandomState(seed)))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_costs_within_one_level_of_one_gene_of_the_budget(name: str) -> None:
    levels = patterned(PATTERNS[name], EVEN, np.random.RandomState(0))
    assert 0 <= EVEN.saved(levels) - EVEN.wanted < 10


def test_a_ramp_up_prunes_clean_stages_more() -> None:
    levels = patterned(PATTERNS["ramp up"], EVEN, np.random.RandomState(0))
    assert levels[0] < levels[-1]
    assert np.all(np.diff(levels[0::2]) >= -1)
