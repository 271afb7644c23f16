import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.errors import SearchError
from diffes.levels import LevelGrid
from diffes.schedule import BlockPlan
from search.genome import GenomeSpace

SPACE = GenomeSpace(LevelGrid.of((BlockPlan(8, 1024), BlockPlan(16, 2048))), stages=3)


@given(st.lists(st.integers(0, 8), min_size=6, max_size=6))
def test_plans_and_genome_say_the_same(levels: list[int]) -> None:
    assert SPACE.genome(SPACE.plans(levels)) == tuple(levels)


def test_the_dense_genome_means_dense_plans() -> None:
    assert SPACE.plans(SPACE.dense) == [SPACE.grid.dense] * 3


def test_a_single_gene_prunes_one_kind_of_one_stage() -> None:
    plans = SPACE.plans(SPACE.single(1, "channels", 4))
    assert plans == [SPACE.grid.dense, (BlockPlan(8, 512), BlockPlan(16, 1024)), SPACE.grid.dense]


def test_a_genome_of_another_length_is_refused() -> None:
    with pytest.raises(SearchError, match="expected 6, found 5"):
        SPACE.plans([0] * 5)


def test_a_plan_that_treats_blocks_unequally_has_no_genome() -> None:
    with pytest.raises(SearchError, match="one level for all blocks"):
        SPACE.genome([(BlockPlan(8, 1024), BlockPlan(8, 2048))])
