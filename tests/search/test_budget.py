from collections.abc import Callable
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.presets import build_schedule
from diffes.schedule import Sampler, StagePlan
from search.budget import Budget, budget_for
from search.genome import GenomeSpace
from tests.search.strategies import any_levels, searches, spaces


def space_of(checkpoint: Checkpoint, stages: int) -> GenomeSpace:
    return GenomeSpace.of(checkpoint.architecture.dense, stages)


@st.composite
def latencies(draw: st.DrawFn, space: GenomeSpace) -> Callable[[StagePlan], int]:
    """Time of a stage plan as a table gives it: a rest, and any time for each width of each half of each block."""
    times: dict[tuple[int, str, int], int] = {}
    for block, dense in enumerate(space.grid.dense):
        for kind, whole in zip(("heads", "channels"), dense, strict=True):
            for kept in range(0, whole + 1, whole // space.grid.parts):
                times[block, kind, kept] = draw(st.integers(1, 40))
    rest = draw(st.integers(0, 100))
    return lambda plan: (
        rest + sum(times[i, "heads", b.heads] + times[i, "channels", b.channels] for i, b in enumerate(plan))
    )


@given(searches(), st.integers(0, 1000))
def test_a_repaired_genome_is_feasible(search: tuple[GenomeSpace, Budget], seed: int) -> None:
    _, budget = search
    random = np.random.RandomState(seed)
    assert budget.feasible(budget.repaired(any_levels(budget, random), random))


@given(searches(), st.integers(0, 1000), st.data())
def test_genes_that_are_held_do_not_keep_a_genome_from_the_budget(
    search: tuple[GenomeSpace, Budget], seed: int, data: st.DataObject
) -> None:
    space, budget = search
    random = np.random.RandomState(seed)
    held = data.draw(st.lists(st.integers(0, space.genes - 1), unique=True))
    assert budget.feasible(budget.repaired(any_levels(budget, random), random, held))


@given(searches(), st.integers(0, 1000))
def test_no_gene_of_a_repaired_genome_can_fall_within_the_budget(search: tuple[GenomeSpace, Budget], seed: int) -> None:
    _, budget = search
    random = np.random.RandomState(seed)
    levels = budget.repaired(any_levels(budget, random), random)
    for gene in np.flatnonzero(levels):
        fallen = levels.copy()
        fallen[gene] = budget.below[gene, levels[gene] - 1]
        assert not budget.feasible(fallen)


@given(searches(), st.integers(0, 1000))
def test_repair_is_the_same_for_equal_generators(search: tuple[GenomeSpace, Budget], seed: int) -> None:
    _, budget = search
    start = any_levels(budget, np.random.RandomState(seed))
    first, second = (budget.repaired(start, np.random.RandomState(seed)) for _ in range(2))
    assert np.array_equal(first, second)


@given(searches(), st.integers(0, 1000))
def test_a_level_that_saves_no_more_than_a_lower_one_is_never_taken(
    search: tuple[GenomeSpace, Budget], seed: int
) -> None:
    _, budget = search
    random = np.random.RandomState(seed)
    levels = budget.repaired(any_levels(budget, random), random)
    for gene, level in enumerate(levels):
        assert all(budget.savings[gene, lower] < budget.savings[gene, level] for lower in range(level))


@given(searches(), st.integers(0, 1000))
def test_the_nearest_useful_genome_saves_no_less(search: tuple[GenomeSpace, Budget], seed: int) -> None:
    _, budget = search
    levels = any_levels(budget, np.random.RandomState(seed))
    assert budget.saved(budget.usable(levels)) >= budget.saved(levels)
    assert np.all(budget.usable(levels) <= levels)


def test_a_level_that_saves_less_than_the_one_before_is_no_trap() -> None:
    budget = Budget(np.array([[0, 5, 3, 3, 9], [0, -1, -2, -1, 0]]), dense=20, wanted=9)
    assert budget.repaired([1, 3], np.random.RandomState(0)).tolist() == [4, 0]
    assert budget.reachable == 9
    assert budget.movable.tolist() == [0]


@given(spaces(), st.data())
def test_a_genomes_saving_is_its_plans_for_any_cost_that_adds_up(space: GenomeSpace, data: st.DataObject) -> None:
    cost = data.draw(latencies(space))
    executed = data.draw(st.lists(st.integers(0, 3), min_size=space.stages, max_size=space.stages).filter(any))
    budget = budget_for(space, cost, executed, 1e-9) if any_saving(space, cost) else None
    levels = data.draw(st.lists(st.integers(0, space.top), min_size=space.genes, max_size=space.genes))
    if budget is not None:
        spent = sum(n * cost(plan) for n, plan in zip(executed, space.plans(levels), strict=True))
        assert budget.dense - budget.saved(levels) == spent


def any_saving(space: GenomeSpace, cost: Callable[[StagePlan], int]) -> bool:
    dense = cost(space.grid.dense)
    return any(
        cost(space.plan([level if gene == own else 0 for gene in range(space.genes_of_stage)])) < dense
        for own in range(space.genes_of_stage)
        for level in range(space.top + 1)
    )


@given(st.lists(st.integers(0, 4), min_size=10, max_size=10))
def test_a_genomes_cost_is_its_schedules_cost(tiny_checkpoint: Checkpoint, levels: list[int]) -> None:
    space = space_of(tiny_checkpoint, 5)
    sampler = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)
    schedule = build_schedule(tiny_checkpoint, sampler, space.plans(levels), "none", {})
    # 4 steps at timesteps 750, 500, 250, 0 miss one of the five stages
    executed = [sum(stage.low <= t <= stage.high for t in (750, 500, 250, 0)) for stage in schedule.stages]
    budget = budget_for(space, tiny_checkpoint.architecture.macs, executed, 0.25)
    assert schedule.cost.macs == 2 * (budget.dense - budget.saved(levels))
    assert schedule.cost.dense_macs == 2 * budget.dense


def test_a_stage_without_steps_cannot_move(tiny_checkpoint: Checkpoint) -> None:
    budget = budget_for(space_of(tiny_checkpoint, 3), tiny_checkpoint.architecture.macs, [2, 0, 1], 0.3)
    assert budget.movable.tolist() == [0, 1, 4, 5]


def test_a_sampler_that_executes_no_stage_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match="no stage is executed"):
        budget_for(space_of(tiny_checkpoint, 2), tiny_checkpoint.architecture.macs, [0, 0], 0.3)


def test_the_wanted_saving_is_exact_for_decimal_shares(tiny_checkpoint: Checkpoint) -> None:
    macs = tiny_checkpoint.architecture.macs
    for share in (0.1, 0.3, 0.375, 0.7):
        budget = budget_for(space_of(tiny_checkpoint, 1), macs, [10], share)
        assert budget.wanted == ceil(round(share * 1000) * budget.dense / 1000)


def test_a_budget_out_of_reach_names_the_largest_share(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match=r"at most 0\.97\d* of the MACs removed, found 0\.99"):
        budget_for(space_of(tiny_checkpoint, 2), tiny_checkpoint.architecture.macs, [1, 1], 0.99)


def test_without_skips_less_can_be_reached(tiny_checkpoint: Checkpoint) -> None:
    space = GenomeSpace.of(tiny_checkpoint.architecture.dense, 2, "block", depth="none")
    with pytest.raises(SearchError, match=r"at most 0\.7\d* of the MACs removed"):
        budget_for(space, tiny_checkpoint.architecture.macs, [1, 1], 0.8)


def test_a_cost_that_does_not_add_up_is_refused(tiny_checkpoint: Checkpoint) -> None:
    def slowest_block(plan: StagePlan) -> int:
        return max(block.heads + block.channels for block in plan)

    space = GenomeSpace.of(tiny_checkpoint.architecture.dense, 2, "block")
    with pytest.raises(SearchError, match="must add up over genes"):
        budget_for(space, slowest_block, [1, 1], 0.1)
