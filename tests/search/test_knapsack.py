from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.errors import SearchError
from search.budget import Budget
from search.genome import GenomeSpace
from search.knapsack import solve_knapsack
from tests.search.strategies import errors_for, searches

Search = tuple[GenomeSpace, Budget]


def total(errors: np.ndarray[tuple[int, int], np.dtype[np.float64]], levels: tuple[int, ...]) -> float:
    return float(errors[np.arange(len(levels)), list(levels)].sum())


@given(searches(most_stages=2, most_blocks=2).filter(lambda s: s[0].genes <= 4), st.integers(0, 1000))
def test_it_equals_trying_everything(search: Search, seed: int) -> None:
    _, budget = search
    errors = errors_for(budget, seed)
    genes, levels = budget.savings.shape
    feasible = [g for g in product(range(levels), repeat=genes) if budget.feasible(g)]
    solved = tuple(solve_knapsack(errors, budget).tolist())
    assert budget.feasible(solved)
    assert total(errors, solved) == pytest.approx(min(total(errors, g) for g in feasible))


@given(searches(), st.integers(0, 1000), st.integers(1, 60))
def test_a_coarse_unit_never_exceeds_the_budget(search: Search, seed: int, units: int) -> None:
    assert search[1].feasible(solve_knapsack(errors_for(search[1], seed), search[1], units))


def test_a_coarse_unit_costs_little() -> None:
    random = np.random.RandomState(0)
    steps = random.randint(1, 10**6, (40, 9))
    steps[:, 0] = 0
    budget = Budget(np.cumsum(steps, axis=1), dense=10**9, wanted=80 * 10**6)
    errors = errors_for(budget, 0)
    coarse, fine = (total(errors, tuple(solve_knapsack(errors, budget, units))) for units in (1 << 12, 1 << 18))
    assert coarse < 1.01 * fine


def test_a_divisor_of_all_savings_is_exact_however_large_they_are() -> None:
    budget = Budget(np.array([[0, 4, 6], [0, 2, 6]]) * 10**12, dense=20 * 10**12, wanted=6 * 10**12)
    errors = np.array([[0, 1.0, 9.0], [0, 1.0, 8.0]])
    assert solve_knapsack(errors, budget).tolist() == [1, 1]


def test_the_largest_spaces_are_solved_within_the_budget() -> None:
    random = np.random.RandomState(1)
    steps = random.randint(-(10**5), 10**7, (240, 9))
    steps[:, 0] = 0
    savings = np.cumsum(steps, axis=1)
    budget = Budget(savings, dense=int(savings.max(1).sum()) + 1, wanted=int(savings.max(1).sum() * 0.4))
    levels = solve_knapsack(errors_for(budget, 2), budget)
    assert 0 <= budget.saved(levels) - budget.wanted < 0.001 * budget.wanted


def test_a_level_of_infinite_error_is_avoided() -> None:
    budget = Budget(np.array([[0, 5, 10], [0, 5, 10]]), dense=30, wanted=10)
    errors = np.array([[0, 1.0, np.inf], [0, 100.0, 200.0]])
    assert solve_knapsack(errors, budget).tolist() == [1, 1]


def test_nothing_finite_that_saves_enough_is_refused() -> None:
    budget = Budget(np.array([[0, 5], [0, 5]]), dense=30, wanted=10)
    with pytest.raises(SearchError, match="expected 10 MACs saved, found at most 5"):
        solve_knapsack(np.array([[0, 1.0], [0, np.inf]]), budget)
