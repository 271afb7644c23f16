"""Schedules that need no search: a schedule from given stage plans, the dense one, and the uniform one."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.pruning.cost import plan_macs
from diffes.pruning.mode import Compensation
from diffes.sampling import trajectory
from diffes.schedule import (
    CompensationMode,
    Cost,
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
    intervals = equal_intervals(checkpoint.train_timesteps, len(plans))
    stages = tuple(Stage(high=high, low=low, blocks=plan) for (high, low), plan in zip(intervals, plans, strict=True))
    return Schedule(
        model=checkpoint.identity,
        sampler=sampler,
        stages=stages,
        compensation=compensation,
        cost=_cost(checkpoint, sampler, stages, compensation),
        provenance=dict(provenance),
    )


def with_compensation(checkpoint: Checkpoint, schedule: Schedule, compensation: CompensationMode) -> Schedule:
    """The same stages under another compensation, and what they cost then."""
    cost = _cost(checkpoint, schedule.sampler, schedule.stages, compensation)
    return schedule.model_copy(update={"compensation": compensation, "cost": cost})


def _cost(checkpoint: Checkpoint, sampler: Sampler, stages: Sequence[Stage], compensation: CompensationMode) -> Cost:
    architecture, mode = checkpoint.architecture, Compensation.parse(compensation)
    path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)

    def macs(plan: StagePlan) -> int:
        return plan_macs(architecture, plan, mode)

    return trajectory_cost(stages, path.timesteps, macs, architecture.dense, guided=sampler.guidance != 1)


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
