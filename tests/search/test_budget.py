from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.levels import LevelGrid
from diffes.presets import build_schedule
from diffes.schedule import Sampler
from search.budget import Budget, budget_for
from search.genome import GenomeSpace
from tests.search.strategies import any_levels, budgets


def space_of(checkpoint: Checkpoint, stages: int) -> GenomeSpace:
    return GenomeSpace(LevelGrid.of(checkpoint.architecture.dense), stages)


@given(budgets(), st.integers(0, 1000))
def test_a_repaired_genome_is_feasible(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    assert budget.feasible(budget.repaired(any_levels(budget, random), random))


@given(budgets(), st.integers(0, 1000))
def test_no_gene_of_a_repaired_genome_can_fall_within_the_budget(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    levels = budget.repaired(any_levels(budget, random), random)
    for gene in np.flatnonzero(levels):
        fallen = levels.copy()
        fallen[gene] -= 1
        assert not budget.feasible(fallen)


@given(budgets(), st.integers(0, 1000))
def test_repair_is_the_same_for_equal_generators(budget: Budget, seed: int) -> None:
    start = any_levels(budget, np.random.RandomState(seed))
    first, second = (budget.repaired(start, np.random.RandomState(seed)) for _ in range(2))
    assert np.array_equal(first, second)


@given(budgets(), st.integers(0, 1000))
def test_a_gene_that_saves_nothing_stays_at_zero(budget: Budget, seed: int) -> None:
    random = np.random.RandomState(seed)
    levels = budget.repaired(any_levels(budget, random), random)
    assert not levels[budget.savings[:, -1] == 0].any()


@given(st.lists(st.integers(0, 4), min_size=10, max_size=10))
def test_a_genomes_cost_is_its_schedules_cost(tiny_checkpoint: Checkpoint, levels: list[int]) -> None:
    space = space_of(tiny_checkpoint, 5)
    sampler = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)
    # 4 steps at timesteps 750, 500, 250, 0 miss one of the five stages
    budget = budget_for(space, tiny_checkpoint.architecture.macs, [0, 1, 1, 1, 1], 0.25)
    schedule = build_schedule(tiny_checkpoint, sampler, space.plans(levels), "none", {})
    executed = [sum(stage.low <= t <= stage.high for t in (750, 500, 250, 0)) for stage in schedule.stages]
    budget = budget_for(space, tiny_checkpoint.architecture.macs, executed, 0.25)
    assert schedule.cost.macs == 2 * (budget.dense - budget.saved(levels))
    assert schedule.cost.dense_macs == 2 * budget.dense


def test_a_stage_without_steps_cannot_move(tiny_checkpoint: Checkpoint) -> None:
    budget = budget_for(space_of(tiny_checkpoint, 3), tiny_checkpoint.architecture.macs, [2, 0, 1], 0.3)
    assert budget.movable.tolist() == [0, 1, 4, 5]


def test_the_wanted_saving_is_exact_for_decimal_shares(tiny_checkpoint: Checkpoint) -> None:
    macs = tiny_checkpoint.architecture.macs
    for share in (0.1, 0.3, 0.375, 0.7):
        budget = budget_for(space_of(tiny_checkpoint, 1), macs, [10], share)
        assert budget.wanted == ceil(round(share * 1000) * budget.dense / 1000)


def test_a_budget_out_of_reach_names_the_largest_share(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match=r"at most 0\.97\d* of the MACs removed, found 0\.99"):
        budget_for(space_of(tiny_checkpoint, 2), tiny_checkpoint.architecture.macs, [1, 1], 0.99)
