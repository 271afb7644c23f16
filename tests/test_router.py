import pytest

from diffes.errors import ScheduleError
from diffes.router import route
from diffes.sampling import trajectory
from diffes.schedule import BlockPlan, Cost, ModelIdentity, Sampler, Schedule, Stage

DENSE, HALF = (BlockPlan(4, 128),), (BlockPlan(2, 64),)
CONFIG = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False}
SCHEDULE = Schedule(
    model=ModelIdentity(class_name="DiTTransformer2DModel", fingerprint="f"),
    sampler=Sampler(class_name="DDIMScheduler", steps=4, guidance=1.0),
    stages=(
        Stage(high=999, low=500, blocks=HALF),
        Stage(high=499, low=100, blocks=DENSE),
        Stage(high=99, low=0, blocks=HALF),
    ),
    compensation="none",
    cost=Cost(macs=1, dense_macs=1),
)


def test_every_step_is_routed_to_the_subgraph_of_its_stage() -> None:
    found = route(SCHEDULE, {DENSE: "a", HALF: "b"}, trajectory("DDIMScheduler", CONFIG, 4))
    assert found.stages == (0, 0, 1, 2)  # at 750, 500, 250, 0
    assert found.subgraphs == ("b", "b", "a", "b")


def test_a_fractional_timestep_is_routed_too() -> None:
    path = trajectory("EulerDiscreteScheduler", CONFIG, 7)
    assert any(timestep % 1 for timestep in path.timesteps)
    found = route(SCHEDULE, {DENSE: "a", HALF: "b"}, path)
    assert found.stages == tuple(0 if t >= 500 else 1 if t >= 100 else 2 for t in path.timesteps)


def test_a_stage_without_a_subgraph_is_refused_when_it_is_met() -> None:
    with pytest.raises(ScheduleError, match="stage 1 has no subgraph"):
        route(SCHEDULE, {HALF: "b"}, trajectory("DDIMScheduler", CONFIG, 4))
    assert route(SCHEDULE, {HALF: "b"}, trajectory("DDIMScheduler", CONFIG, 1)).stages == (2,)
