from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.errors import SearchError
from search.budget import Budget
from search.knapsack import solve_knapsack
from tests.search.strategies import budgets


def random_errors(budget: Budget, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    errors = np.random.RandomState(seed).random_sample(budget.savings.shape)
    errors[:, 0] = 0
    return errors


def total(errors: np.ndarray[tuple[int, int], np.dtype[np.float64]], levels: tuple[int, ...]) -> float:
    return float(errors[np.arange(len(levels)), list(levels)].sum())


@given(budgets(most_stages=2, most_levels=3), st.integers(0, 1000))
def test_it_equals_trying_everything(budget: Budget, seed: int) -> None:
    errors = random_errors(budget, seed)
    genes, levels = budget.savings.shape
    feasible = [g for g in product(range(levels), repeat=genes) if budget.feasible(g)]
    solved = tuple(solve_knapsack(errors, budget).tolist())
    assert budget.feasible(solved)
    assert total(errors, solved) == pytest.approx(min(total(errors, g) for g in feasible))


@given(budgets(), st.integers(0, 1000), st.integers(20, 60))
def test_a_coarse_unit_never_exceeds_the_budget(budget: Budget, seed: int, units: int) -> None:
    try:
        solved = solve_knapsack(random_errors(budget, seed), budget, units)
    except SearchError:  # rounding down may leave the last few MACs out of reach
        assert budget.wanted > budget.reachable - budget.savings.shape[0] * (budget.wanted // units + 1)
        return
    assert budget.feasible(solved)


def test_a_level_of_infinite_error_is_avoided() -> None:
    budget = Budget(np.array([[0, 5, 10], [0, 5, 10]]), dense=30, wanted=10)
    errors = np.array([[0, 1.0, np.inf], [0, 100.0, 200.0]])
    assert solve_knapsack(errors, budget).tolist() == [1, 1]


def test_nothing_finite_that_saves_enough_is_refused() -> None:
    budget = Budget(np.array([[0, 5], [0, 5]]), dense=30, wanted=10)
    with pytest.raises(SearchError, match="expected 10 MACs saved, found at most 5"):
        solve_knapsack(np.array([[0, 1.0], [0, np.inf]]), budget)
