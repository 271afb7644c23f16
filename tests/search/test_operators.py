import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diffes.schedule import BlockPlan
from search.budget import Budget
from search.budget_range import BudgetRange, tight
from search.genome import GenomeSpace
from search.operators import Operators, RangeOperators, select
from tests.search.strategies import any_levels, front_searches, searches

Search = tuple[GenomeSpace, Budget]
SPACE = GenomeSpace.of((BlockPlan(4, 64),) * 3, 2, "block")
EVEN = Budget(np.tile(np.arange(5) * 10, (12, 1)), dense=600, wanted=200)


@given(searches(), st.integers(0, 1000))
def test_every_mutation_conserves_the_budget(search: Search, seed: int) -> None:
    operators, random = Operators(*search), np.random.RandomState(seed)
    levels = search[1].repaired(any_levels(search[1], random), random)
    assert search[1].feasible(operators.mutated(levels, random))
    assert search[1].feasible(operators.level_switched(levels, random))


@given(searches(), st.integers(0, 1000))
def test_a_skip_conserves_the_budget(search: Search, seed: int) -> None:
    random = np.random.RandomState(seed)
    levels = search[1].repaired(any_levels(search[1], random), random)
    assert search[1].feasible(Operators(*search).skip_switched(levels, random))


@given(searches(), st.integers(0, 1000))
def test_crossing_conserves_the_budget(search: Search, seed: int) -> None:
    random = np.random.RandomState(seed)
    mother, father = (search[1].repaired(any_levels(search[1], random), random) for _ in range(2))
    assert search[1].feasible(Operators(*search).crossed(mother, father, random))


@given(searches(), st.integers(0, 1000))
def test_operators_leave_their_arguments_alone(search: Search, seed: int) -> None:
    operators, random = Operators(*search), np.random.RandomState(seed)
    mother, father = (search[1].repaired(any_levels(search[1], random), random) for _ in range(2))
    before = mother.copy(), father.copy()
    operators.mutated(mother, random)
    operators.crossed(mother, father, random)
    assert np.array_equal(mother, before[0])
    assert np.array_equal(father, before[1])


@given(searches(), st.integers(0, 1000))
def test_crossing_equal_parents_gives_the_parent(search: Search, seed: int) -> None:
    random = np.random.RandomState(seed)
    parent = search[1].repaired(any_levels(search[1], random), random)
    assert np.array_equal(Operators(*search).crossed(parent, parent, random), parent)


def test_a_switch_reaches_other_genomes() -> None:
    random = np.random.RandomState(0)
    start = EVEN.repaired(np.full(12, 2), random)
    operators = Operators(SPACE, EVEN)
    reached = {tuple(operators.level_switched(start, random).tolist()) for _ in range(200)}
    assert len(reached) > 60


def test_a_skip_takes_a_whole_block_group_to_the_top_and_another_brings_it_back() -> None:
    random = np.random.RandomState(0)
    operators = Operators(SPACE, EVEN)
    start = np.full(12, 2)
    start[4:] = 1
    start = EVEN.repaired(start, random)
    skipped = [operators.skip_switched(start, random) for _ in range(20)]
    assert all((levels.reshape(-1, 2) == 4).all(axis=1).any() for levels in skipped)
    restored = [operators.skip_switched(levels, random) for levels in skipped for _ in range(10)]
    assert any(not (levels.reshape(-1, 2) == 4).all(axis=1).any() for levels in restored)


def test_mutation_skips_only_where_the_space_does() -> None:
    random = np.random.RandomState(0)
    space = GenomeSpace.of((BlockPlan(4, 64),) * 3, 2, "block", depth="none")
    budget = Budget(np.tile(np.arange(4) * 10, (12, 1)), dense=600, wanted=200)
    levels = budget.repaired(np.zeros(12, dtype=np.int64), random)
    for _ in range(50):
        levels = Operators(space, budget).mutated(levels, random)
        assert space.plans(levels.tolist())


def test_selection_takes_the_fittest_and_keeps_the_order_of_equals() -> None:
    assert select(np.array([-1.0, -np.inf, -0.5, -1.0]), 3).tolist() == [2, 0, 3]


FrontSearch = tuple[GenomeSpace, BudgetRange]


@given(front_searches(), st.integers(0, 1000))
def test_every_offspring_of_a_front_stays_within_its_range(search: FrontSearch, seed: int) -> None:
    (space, budgets), random = search, np.random.RandomState(seed)
    operators = RangeOperators(space, budgets)
    starts = (any_levels(budgets.low, random) for _ in range(2))
    mother, father = (budgets.drawn(random).repaired(levels, random) for levels in starts)
    assert budgets.holds(operators.crossed(mother, father, random))
    assert budgets.holds(operators.around(mother, random).mutated(mother, random))


@given(front_searches(), st.integers(0, 1000))
def test_the_mutants_of_one_offspring_are_tight_to_one_budget(search: FrontSearch, seed: int) -> None:
    (space, budgets), random = search, np.random.RandomState(seed)
    start = budgets.drawn(random).repaired(any_levels(budgets.low, random), random)
    operators = RangeOperators(space, budgets).around(start, random)
    assert all(tight(operators.budget, operators.mutated(start, random)) for _ in range(4))


def test_a_child_of_a_front_costs_what_lies_between_its_parents() -> None:
    random, budgets = np.random.RandomState(0), BudgetRange(EVEN.asking(0.1), EVEN.asking(0.7))
    cheap, dear = (budgets.wanting(saving).repaired(np.full(12, 2), random) for saving in (400, 100))
    operators = RangeOperators(SPACE, budgets)
    saved = [EVEN.saved(operators.crossed(cheap, dear, random)) for _ in range(60)]
    assert all(100 <= saving < 410 for saving in saved)
    assert len(set(saved)) > 10


def test_lineages_of_a_front_reach_every_budget() -> None:
    random, budgets = np.random.RandomState(0), BudgetRange(EVEN.asking(0.1), EVEN.asking(0.7))
    operators = RangeOperators(SPACE, budgets)
    levels = budgets.low.repaired(np.full(12, 2), random)
    saved = set()
    for _ in range(1500):
        levels = operators.around(levels, random).mutated(levels, random)
        saved.add(EVEN.saved(levels))
    assert max(saved) >= 400
    assert min(saved) <= 80
