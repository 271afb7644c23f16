from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError
from diffes.levels import LevelGrid
from diffes.presets import build_schedule, dense_schedule, uniform_schedule, with_compensation
from diffes.schedule import Sampler, Schedule

SAMPLER = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)


def test_the_dense_schedule_removes_nothing(tiny_checkpoint: Checkpoint) -> None:
    schedule = dense_schedule(tiny_checkpoint, SAMPLER)

    assert schedule.plans == (tiny_checkpoint.architecture.dense,)
    assert schedule.cost.macs_removed == 0


def test_a_uniform_schedule_removes_its_share_of_every_block(tiny_checkpoint: Checkpoint) -> None:
    schedule = uniform_schedule(tiny_checkpoint, SAMPLER, 0.5, 5, "bias")

    for dense, kept in zip(tiny_checkpoint.architecture.dense, schedule.stages[0].blocks, strict=True):
        assert (kept.heads, kept.channels) == (dense.heads // 2, dense.channels // 2)
    assert len(schedule.stages) == 5
    assert len(schedule.plans) == 1
    assert schedule.compensation == "bias"


def test_cost_counts_both_rows_of_guidance_and_executed_steps_only(tiny_checkpoint: Checkpoint) -> None:
    architecture = tiny_checkpoint.architecture
    grid = LevelGrid.of(architecture.dense)
    half = grid.plan(grid.parts // 2, grid.parts // 2)
    plans = [half] + [architecture.dense] * 9  # DDIM's 4 leading steps are 751, 501, 251, 1: none in 999..900

    schedule = build_schedule(tiny_checkpoint, SAMPLER, plans, "none", {})
    unguided = build_schedule(tiny_checkpoint, SAMPLER.model_copy(update={"guidance": 1.0}), plans, "none", {})

    assert schedule.cost.macs == schedule.cost.dense_macs == 2 * 4 * architecture.macs(architecture.dense)
    assert unguided.cost.macs * 2 == schedule.cost.macs


def test_a_share_between_two_levels_is_refused_with_the_shares_there_are(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(ScheduleError, match=r"one of 0, 0\.25, 0\.5, 0\.75, 1, found 0\.3"):
        uniform_schedule(tiny_checkpoint, SAMPLER, 0.3, 10, "none")


def test_low_rank_factors_cost_macs_and_are_written_as_text(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    plain = uniform_schedule(tiny_checkpoint, SAMPLER, 0.5, 2, "none")
    schedule = uniform_schedule(tiny_checkpoint, SAMPLER, 0.5, 2, "low-rank:3")
    layers, tokens, rank, width = 4, 16, 3, 32
    assert schedule.cost.macs - plain.cost.macs == 2 * 4 * layers * tokens * rank * 2 * width
    assert schedule.cost.dense_macs == plain.cost.dense_macs
    schedule.save(tmp_path / "s.json")
    assert '"compensation": "low-rank:3"' in (tmp_path / "s.json").read_text()
    assert Schedule.load(tmp_path / "s.json") == schedule


def test_another_compensation_changes_what_the_same_stages_cost(tiny_checkpoint: Checkpoint) -> None:
    low, full = (uniform_schedule(tiny_checkpoint, SAMPLER, 0.5, 2, mode) for mode in ("low-rank:3", "full"))
    assert with_compensation(tiny_checkpoint, full, "low-rank:3").cost == low.cost
    assert with_compensation(tiny_checkpoint, low, "full") == full
