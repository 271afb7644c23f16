from typing import get_args

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffes.schedule import BlockPlan
from search.baselines import first_genomes, level_switched, random_genome, shared_out
from search.budget import Budget
from search.genome import GenomeSpace
from search.options import MethodName
from tests.search.strategies import searches

Search = tuple[GenomeSpace, Budget]
BASELINES = tuple(method for method in get_args(MethodName) if method != "evolution")
SPACE = GenomeSpace.of((BlockPlan(8, 128),) * 4, 10, widths="tied")
EVEN = Budget(np.tile(np.arange(9) * 10, (10, 1)), dense=1000, wanted=300)
SUM = 30  # levels that save just enough


@settings(deadline=None)
@given(searches(), st.integers(0, 100), st.sampled_from(BASELINES), st.integers(4, 12))
def test_every_first_genome_of_every_method_is_feasible(
    search: Search, seed: int, method: MethodName, size: int
) -> None:
    space, budget = search
    genomes = first_genomes(method, space, budget, size, np.random.RandomState(seed))
    assert len(genomes) == (1 if method in ("uniform", "mosaic") else size)
    assert all(budget.feasible(genome) for genome in genomes)


@given(searches(), st.integers(0, 100))
def test_every_move_stays_within_the_budget(search: Search, seed: int) -> None:
    _, budget = search
    random = np.random.RandomState(seed)
    assert budget.feasible(level_switched(random_genome(budget, random), budget, random))


@given(st.integers(0, 300))
def test_where_levels_cost_the_same_a_move_keeps_their_sum_and_touches_two_stages(seed: int) -> None:
    random = np.random.RandomState(seed)
    start = random_genome(EVEN, random)
    assert sum(start) == SUM

    moved = level_switched(start, EVEN, random)

    change = np.array(moved) - np.array(start)
    assert sum(moved) == SUM
    assert np.count_nonzero(change) == 2
    assert 1 <= change.max() == -change.min() <= 5
    assert 0 <= min(moved) <= max(moved) <= SPACE.top


def test_moves_of_every_length_happen() -> None:
    random = np.random.RandomState(0)
    start = (8, 8, 8, 6, 0, 0, 0, 0, 0, 0)
    lengths = {max(np.array(level_switched(start, EVEN, random)) - np.array(start)) for _ in range(200)}
    assert lengths == {1, 2, 3, 4, 5}


def test_a_space_of_one_gene_has_no_moves() -> None:
    one = Budget(np.array([[0, 10, 20]]), dense=40, wanted=10)
    assert level_switched((1,), one, np.random.RandomState(0)) == (1,)


def test_diff_es_begins_with_uniform_its_patterns_and_distinct_random_genomes() -> None:
    genomes = first_genomes("diff-es", SPACE, EVEN, 20, np.random.RandomState(0))
    assert genomes[0] == (3,) * 10
    down, up = genomes[1], genomes[2]
    assert down[0] > down[-1]
    assert up[0] < up[-1]
    assert len(set(genomes)) == 20
    assert {sum(genome) for genome in genomes} == {SUM}


def test_a_small_population_still_holds_the_uniform_schedule() -> None:
    assert first_genomes("diff-es", SPACE, EVEN, 4, np.random.RandomState(0))[0] == (3,) * 10


def test_mosaic_prunes_the_noisy_phase_most_and_the_middle_least() -> None:
    (genome,) = first_genomes("mosaic", SPACE, EVEN, 1, np.random.RandomState(0))
    noisy, middle, end = genome[:4], genome[5:9], genome[9]
    assert min(noisy) > end > max(middle)


@given(st.integers(0, 100), st.integers(1, 79))
def test_the_remainder_is_spread_and_nothing_is_spent_beyond_the_budget(seed: int, wanted: int) -> None:
    random = np.random.RandomState(seed)
    budget = Budget(EVEN.savings, EVEN.dense, 10 * wanted)
    assert sum(shared_out(random.gamma(1, 1, 10), budget, random)) == wanted


def test_random_genomes_reach_far_from_uniform() -> None:
    random = np.random.RandomState(0)
    drawn = np.array([random_genome(EVEN, random) for _ in range(200)])
    assert drawn.max() == SPACE.top
    assert drawn.min() == 0
    assert np.all(np.abs(drawn.mean(axis=0) - 3) < 1)


@given(searches(), st.integers(0, 50))
def test_a_move_that_finds_no_pair_leaves_the_genome(search: Search, seed: int) -> None:
    _, budget = search
    assume(len(budget.movable) > 1)
    dense = (0,) * len(budget.savings)
    assert level_switched(dense, budget, np.random.RandomState(seed)) == dense
