import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.budget import Budget
from search.operators import cross, select, switch_levels
from tests.search.strategies import any_levels, budgets


@given(budgets(), st.integers(0, 1000))
def test_a_level_switch_conserves_the_budget(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    levels = budget.repaired(any_levels(budget, random), random)
    assert budget.feasible(switch_levels(levels, budget, random))


@given(budgets(), st.integers(0, 1000))
def test_crossing_conserves_the_budget(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    mother, father = (budget.repaired(any_levels(budget, random), random) for _ in range(2))
    assert budget.feasible(cross(mother, father, budget, random))


@given(budgets(), st.integers(0, 1000))
def test_operators_leave_their_arguments_alone(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    mother, father = (budget.repaired(any_levels(budget, random), random) for _ in range(2))
    before = mother.copy(), father.copy()
    switch_levels(mother, budget, random)
    cross(mother, father, budget, random)
    assert np.array_equal(mother, before[0])
    assert np.array_equal(father, before[1])


@given(budgets(), st.integers(0, 1000))
def test_crossing_equal_parents_gives_the_parent(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    parent = budget.repaired(any_levels(budget, random), random)
    assert np.array_equal(cross(parent, parent, budget, random), parent)


def test_a_switch_reaches_other_genomes() -> None:
    budget = Budget(np.tile(np.arange(5) * 10, (6, 1)), dense=300, wanted=100)
    random = np.random.RandomState(0)
    start = budget.repaired(np.full(6, 2), random)
    reached = {tuple(switch_levels(start, budget, random).tolist()) for _ in range(200)}
    assert len(reached) > 30


def test_selection_takes_the_fittest_and_keeps_the_order_of_equals() -> None:
    assert select(np.array([-1.0, -np.inf, -0.5, -1.0]), 3).tolist() == [2, 0, 3]
