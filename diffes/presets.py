"""Schedules that need no search: a schedule from given stage plans, the dense one, and the uniform one."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.sampling import trajectory
from diffes.schedule import (
    CompensationMode,
    Sampler,
    Schedule,
    Stage,
    StagePlan,
    equal_intervals,
    trajectory_cost,
)


def build_schedule(
    checkpoint: Checkpoint,
    sampler: Sampler,
    plans: Sequence[StagePlan],
    compensation: CompensationMode,
    provenance: Mapping[str, JsonValue],
) -> Schedule:
    """The schedule that gives `plans`, noisy to clean, one stage of equal length each, and its cost."""
    architecture = checkpoint.architecture
    intervals = equal_intervals(checkpoint.train_timesteps, len(plans))
    stages = tuple(Stage(high=high, low=low, blocks=plan) for (high, low), plan in zip(intervals, plans, strict=True))
    path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)
    cost = trajectory_cost(stages, path.timesteps, architecture.macs, architecture.dense, guided=sampler.guidance != 1)
    return Schedule(
        model=checkpoint.identity,
        sampler=sampler,
        stages=stages,
        compensation=compensation,
        cost=cost,
        provenance=dict(provenance),
    )


def dense_schedule(checkpoint: Checkpoint, sampler: Sampler) -> Schedule:
    """One stage that keeps everything; nothing is removed, so nothing is compensated."""
    return build_schedule(checkpoint, sampler, [checkpoint.architecture.dense], "none", {"made_by": "dense"})


def uniform_schedule(
    checkpoint: Checkpoint, sampler: Sampler, share: float, stages: int, compensation: CompensationMode
) -> Schedule:
    """Every stage loses `share` of the heads and channels of every block; ScheduleError off the level grid."""
    grid = LevelGrid.of(checkpoint.architecture.dense)
    level = grid.uniform_level(share)
    plan = grid.plan(level, level)
    return build_schedule(checkpoint, sampler, [plan] * stages, compensation, {"made_by": "uniform", "share": share})
