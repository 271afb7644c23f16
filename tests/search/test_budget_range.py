from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.budget import Budget
from search.budget_range import BudgetRange, tight
from tests.search.strategies import any_levels, ranges

EVEN = Budget(np.tile(np.arange(5) * 10, (8, 1)), dense=400, wanted=80)
RANGE = BudgetRange(EVEN, replace(EVEN, wanted=240))


@given(ranges(), st.integers(0, 1000), st.floats(-1e4, 1e4))
def test_whatever_is_tight_to_a_budget_of_the_range_is_within_it(
    budgets: BudgetRange, seed: int, saving: float
) -> None:
    random = np.random.RandomState(seed)
    budget = budgets.wanting(saving)
    levels = budget.repaired(any_levels(budget, random), random)
    assert tight(budget, levels)
    assert budgets.holds(levels)


@given(ranges(), st.integers(0, 1000))
def test_what_saves_too_little_or_a_level_too_much_is_not_within(budgets: BudgetRange, seed: int) -> None:
    levels = any_levels(budgets.low, np.random.RandomState(seed))
    saved = budgets.low.saved(levels)
    if saved < budgets.low.wanted:
        assert not budgets.holds(levels)
    for gene in np.flatnonzero(levels):
        fallen = levels.copy()
        fallen[gene] = budgets.low.below[gene, levels[gene] - 1]
        if budgets.high.feasible(fallen) and saved > budgets.high.wanted:
            assert not budgets.holds(levels)


@given(ranges(), st.integers(0, 100))
def test_a_drawn_budget_is_one_of_the_range(budgets: BudgetRange, seed: int) -> None:
    assert budgets.low.wanted <= budgets.drawn(np.random.RandomState(seed)).wanted <= budgets.high.wanted


@given(st.integers(2, 40))
def test_a_grid_holds_every_step_once_and_both_ends_first(count: int) -> None:
    wanted = [budget.wanted for budget in RANGE.grid(count)]
    assert sorted(wanted) == [RANGE.wanting(saving).wanted for saving in np.linspace(80, 240, count)]
    assert wanted[:2] == [80, 240]


def test_the_first_few_of_a_grid_are_spread_out() -> None:
    assert [budget.wanted for budget in RANGE.grid(9)] == [80, 240, 160, 120, 200, 100, 140, 180, 220]


def test_a_dense_genome_is_tight_to_a_budget_that_wants_nothing() -> None:
    assert tight(replace(EVEN, wanted=0), (0,) * 8)


@given(ranges(), st.integers(0, 1000))
def test_what_is_saved_beyond_the_range_does_not_count(budgets: BudgetRange, seed: int) -> None:
    levels = any_levels(budgets.low, np.random.RandomState(seed))
    saved = budgets.low.saved(levels)
    assert budgets.counted(levels) == (budgets.high.wanted if budgets.high.feasible(levels) else saved)
