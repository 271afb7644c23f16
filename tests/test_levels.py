import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.errors import ScheduleError
from diffes.levels import LevelGrid
from diffes.schedule import BlockPlan

GRID = LevelGrid.of((BlockPlan(8, 1024),) * 3)


def test_the_grid_cuts_between_heads() -> None:
    assert GRID.parts == 8
    assert LevelGrid.of((BlockPlan(8, 64), BlockPlan(12, 96))).parts == 4


@given(heads=st.integers(0, 8), channels=st.integers(0, 8))
def test_a_level_removes_whole_equal_parts(heads: int, channels: int) -> None:
    assert set(GRID.plan(heads, channels)) == {BlockPlan(8 - heads, 1024 - 128 * channels)}


def test_level_zero_is_dense_and_the_last_level_removes_everything() -> None:
    assert GRID.plan(0, 0) == GRID.dense
    assert GRID.plan(8, 8) == (BlockPlan(0, 0),) * 3


def test_blocks_may_have_levels_of_their_own() -> None:
    plan = GRID.plan_blocks([(0, 8), (4, 4), (8, 0)])
    assert plan == (BlockPlan(8, 0), BlockPlan(4, 512), BlockPlan(0, 1024))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=3, max_size=3))
def test_a_plans_levels_are_those_it_was_made_of(levels: list[tuple[int, int]]) -> None:
    assert GRID.levels(GRID.plan_blocks(levels)) == levels


@pytest.mark.parametrize("block", [BlockPlan(8, 1000), BlockPlan(16, 1024)])
def test_a_plan_off_the_grid_has_no_levels(block: BlockPlan) -> None:
    with pytest.raises(ScheduleError, match="block 1 lies between the levels: expected .* parts of 8"):
        GRID.levels((GRID.dense[0], block, GRID.dense[2]))


def test_a_plan_of_another_depth_has_no_levels() -> None:
    with pytest.raises(ScheduleError, match="expected 3, found 2"):
        GRID.levels(GRID.dense[:2])


@given(level=st.integers(0, 8))
def test_a_uniform_share_on_the_grid_is_its_level(level: int) -> None:
    assert GRID.uniform_level(level / 8) == level


@pytest.mark.parametrize("share", [0.3, -0.125, 1.125, float("nan")])
def test_a_uniform_share_off_the_grid_is_refused_with_the_shares_on_it(share: float) -> None:
    with pytest.raises(ScheduleError, match=r"one of 0, 0\.125, 0\.25, 0\.375, 0\.5, .*, 1, found .*diffes search"):
        GRID.uniform_level(share)


@pytest.mark.parametrize("level", [-1, 9])
def test_a_level_outside_the_grid_is_refused(level: int) -> None:
    with pytest.raises(ScheduleError, match=r"expected 0\.\.8"):
        GRID.plan(0, level)


def test_units_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ScheduleError, match="divisible by 8"):
        LevelGrid((BlockPlan(8, 1020),), 8)
