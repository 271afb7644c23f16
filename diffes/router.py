"""Which subgraph runs each step of a request: timestep → stage → subgraph."""

from collections.abc import Mapping
from dataclasses import dataclass

from diffes.errors import ScheduleError
from diffes.sampling import Trajectory
from diffes.schedule import Schedule, StagePlan


@dataclass(frozen=True, slots=True)
class Route:
    """Stage index and subgraph id of every step of one trajectory."""

    stages: tuple[int, ...]
    subgraphs: tuple[str, ...]


def route(schedule: Schedule, subgraphs: Mapping[StagePlan, str], path: Trajectory) -> Route:
    """Look every timestep of a trajectory up once, at admission; ScheduleError if a stage met has no subgraph."""
    stages = tuple(schedule.stage_index(timestep) for timestep in path.timesteps)
    for index in stages:
        if schedule.stages[index].blocks not in subgraphs:
            raise ScheduleError(f"stage {index} has no subgraph", expected="a subgraph for each stage plan")
    return Route(stages, tuple(subgraphs[schedule.stages[i].blocks] for i in stages))
