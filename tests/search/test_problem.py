from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError, ScheduleError, SearchError
from diffes.presets import build_schedule
from diffes.pruning.calibration import Calibration
from diffes.schedule import Schedule
from search.genome import GenomeSpace
from search.problem import Problem
from tests.search.conftest import small_options


def test_stages_hold_the_samplers_steps(problem: Problem) -> None:
    assert problem.step_stages == (1, 2, 3, 4)  # timesteps 750, 500, 250, 0 of five stages
    assert problem.executed == [0, 1, 1, 1, 1]


@given(st.lists(st.integers(0, 4), min_size=8, max_size=8))
def test_a_schedule_read_back_is_the_genome_it_was_made_of(problem: Problem, levels: list[int]) -> None:
    genome = (0, 0, *levels)  # the first stage has no step
    assert problem.genome(schedule_of(problem, genome, 5)) == genome


def test_what_a_schedule_keeps_where_no_step_runs_is_not_read(problem: Problem) -> None:
    assert problem.genome(schedule_of(problem, (4, 4, *[1, 2] * 4), 5)) == (0, 0, *[1, 2] * 4)


def test_a_schedule_of_other_stages_is_read_where_its_plans_allow(problem: Problem) -> None:
    assert problem.genome(schedule_of(problem, (1, 1), 1)) == (0, 0, *[1, 1] * 4)
    with pytest.raises(
        SearchError, match="changes its plan within a stage: expected one plan from timestep 599 to 400"
    ):
        problem.genome(schedule_of(problem, (1, 1, 2, 2), 2))


def test_a_schedule_of_another_model_is_not_read(problem: Problem) -> None:
    schedule = schedule_of(problem, (1, 1), 1)
    other = schedule.model.model_copy(update={"fingerprint": "ab" * 32})
    with pytest.raises(ScheduleError, match="made for another model"):
        problem.genome(schedule.model_copy(update={"model": other}))


def schedule_of(problem: Problem, genome: Sequence[int], stages: int) -> Schedule:
    plans = GenomeSpace.of(problem.space.grid.dense, stages).plans(genome)
    sampler = problem.options.sampler_of(problem.checkpoint)
    return build_schedule(problem.checkpoint, sampler, plans, "full", {})


def test_the_rollouts_run_the_checkpoints_model(problem: Problem, tiny_calibration: Calibration) -> None:
    rollouts = problem.rollouts(tiny_calibration)
    assert rollouts.dense == problem.checkpoint.architecture.dense
    assert rollouts.model.compensation == "full"
    assert rollouts.model.dtype == torch.float32


def test_a_budget_out_of_reach_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match="the budget cannot be reached"):
        Problem.of(tiny_checkpoint, small_options(macs=0.98))


def test_an_unknown_sampler_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="unknown sampler"):
        Problem.of(tiny_checkpoint, small_options(sampler="PNDMScheduler"))
