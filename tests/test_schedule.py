import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diffes.errors import ScheduleError
from diffes.sampling import trajectory
from diffes.schedule import (
    BlockPlan,
    ModelIdentity,
    Sampler,
    Schedule,
    Stage,
    StagePlan,
    equal_intervals,
    executed_steps,
    stage_index,
    trajectory_cost,
)

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "model": {"class": "DiTTransformer2DModel", "fingerprint": "f" * 64},
    "sampler": {"class": "DDIMScheduler", "steps": 20, "guidance": 1.5},
    "stages": [
        {"high": 999, "low": 400, "blocks": [[4, 128], [2, 64]]},
        {"high": 399, "low": 100, "blocks": [[2, 64], [0, 0]]},
        {"high": 99, "low": 0, "blocks": [[4, 128], [2, 64]]},
    ],
    "compensation": "full",
    "cost": {"macs": 600, "dense_macs": 1000, "latency": None},
    "provenance": {"seed": 3, "log": ["uniform"]},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good document with one entry replaced, added or (value `...`) removed."""
    document: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    node: Any = document
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


def test_a_schedule_survives_its_file(tmp_path: Path) -> None:
    schedule = Schedule.parse(DOCUMENT, source="test")
    schedule.save(tmp_path / "schedule.json")
    assert Schedule.load(tmp_path / "schedule.json") == schedule
    assert json.loads((tmp_path / "schedule.json").read_text()) == DOCUMENT


def test_plans_are_counts_in_tuples() -> None:
    schedule = Schedule.parse(DOCUMENT, source="test")
    assert schedule.stages[1].blocks == (BlockPlan(2, 64), BlockPlan(0, 0))
    assert schedule.plans == (schedule.stages[0].blocks, schedule.stages[1].blocks)
    assert schedule.cost.macs_removed == pytest.approx(0.4)


MALFORMED: list[tuple[str, Any, str]] = [
    ("format", 2, "unknown format: expected format 1, found format 2"),
    ("format", "1", "unknown format"),
    ("format", ..., "found format None"),
    ("stages.1.high", 398, "the next starts at 399, found 398"),
    ("stages.1.high", 400, "the next starts at 399, found 400"),
    ("stages.2.low", 1, "must end at 0, found 1"),
    ("stages.2.low", -1, r"at stages\.2\.low"),
    ("stages.0", {"high": 300, "low": 400, "blocks": [[4, 128], [2, 64]]}, r"at stages\.0: .*found 300\.\.400"),
    ("stages.0.blocks", [[4, 128]], "same number of blocks"),
    ("stages.0.blocks.1", [2, 64, 1], r"at stages\.0\.blocks\.1"),
    ("stages.0.blocks.1", [2], r"at stages\.0\.blocks\.1"),
    ("stages.0.blocks.1.0", -2, r"at stages\.0\.blocks\.1"),
    ("stages.0.blocks.1.0", 2.0, r"at stages\.0\.blocks\.1"),
    ("stages.0.blocks.1.0", "2", r"at stages\.0\.blocks\.1"),
    ("stages.0.blocks.1.0", True, r"at stages\.0\.blocks\.1"),
    ("stages.0.name", "early", r"at stages\.0\.name"),
    ("stages", [], "at stages"),
    ("stages", ..., "at stages"),
    ("notes", "mine", "at notes"),
    ("compensation", "low-rank", "at compensation"),
    ("model.fingerprint", ..., r"at model\.fingerprint"),
    ("sampler.steps", 0, r"at sampler\.steps"),
    ("sampler.guidance", float("nan"), r"at sampler\.guidance"),
    ("cost.macs", -1, r"at cost\.macs"),
    ("cost.dense_macs", 0, r"at cost\.dense_macs"),
    ("cost.latency", -0.1, r"at cost\.latency"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED)
def test_a_malformed_schedule_is_refused_where_it_is_wrong(path: str, value: Any, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        Schedule.parse(changed(path, value), source="test")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", '"text"'])
def test_a_file_that_holds_no_schedule_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ScheduleError, match=r"s\.json"):
        Schedule.load(tmp_path / "s.json")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=r"none\.json"):
        Schedule.load(tmp_path / "none.json")


MODEL = ModelIdentity(class_name="DiTTransformer2DModel", fingerprint="f" * 64)


def test_a_schedule_fits_its_own_model() -> None:
    Schedule.parse(DOCUMENT, source="test").require_fit(MODEL, (BlockPlan(4, 128), BlockPlan(2, 64)), 1000)


def test_a_schedule_that_starts_late_is_refused() -> None:
    with pytest.raises(ScheduleError, match="noisiest timestep: expected 1999, found 999"):
        Schedule.parse(DOCUMENT, source="test").require_fit(MODEL, (BlockPlan(4, 128), BlockPlan(2, 64)), 2000)


@pytest.mark.parametrize(
    ("model", "dense", "message"),
    [
        (MODEL.model_copy(update={"fingerprint": "0" * 64}), ((4, 128), (2, 64)), "another model: .*0000.*ffff"),
        (MODEL, ((4, 128),), "expected 1, found 2"),
        (MODEL, ((4, 128), (2, 63)), r"block 1 has: expected \(2, 63\), found \(2, 64\)"),
        (MODEL, ((3, 128), (2, 64)), r"block 0 has"),
    ],
)
def test_a_schedule_for_something_else_is_refused(
    model: ModelIdentity, dense: tuple[tuple[int, int], ...], message: str
) -> None:
    plan = tuple(BlockPlan(*block) for block in dense)
    with pytest.raises(ScheduleError, match=message):
        Schedule.parse(DOCUMENT, source="test").require_fit(model, plan, 1000)


@given(total=st.integers(1, 1200), stages=st.integers(1, 60))
def test_equal_intervals_partition_the_timesteps_evenly(total: int, stages: int) -> None:
    if stages > total:
        with pytest.raises(ScheduleError, match="cannot split"):
            equal_intervals(total, stages)
        return
    intervals = equal_intervals(total, stages)
    covered = [t for high, low in intervals for t in range(high, low - 1, -1)]
    assert covered == list(range(total - 1, -1, -1))
    assert len(intervals) == stages
    assert len({high - low for high, low in intervals}) <= 2


def test_a_timestep_belongs_to_one_stage_and_a_fraction_to_that_of_its_integer_part() -> None:
    schedule = Schedule.parse(DOCUMENT, source="test")
    asked = [999, 400, 400.5, 399.99, 100, 99, 0.3, 0]
    assert [schedule.stage_index(t) for t in asked] == [0, 0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("timestep", [1000, -1])
def test_a_timestep_outside_the_schedule_is_refused(timestep: int) -> None:
    with pytest.raises(ScheduleError, match=rf"expected 0\.\.999, found {timestep}"):
        stage_index([(999, 500), (499, 0)], timestep)


def ddim_timesteps(steps: int) -> tuple[float, ...]:
    config = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False}
    return trajectory("DDIMScheduler", config, steps).timesteps


def test_twenty_steps_execute_two_in_each_of_ten_stages() -> None:
    assert executed_steps(equal_intervals(1000, 10), ddim_timesteps(20)) == [2] * 10


def test_four_steps_leave_stages_without_any() -> None:
    # leading spacing: 750, 500, 250, 0
    assert executed_steps(equal_intervals(1000, 10), ddim_timesteps(4)) == [0, 0, 1, 0, 1, 0, 0, 1, 0, 1]


def cost_in_channels(plan: StagePlan) -> int:
    return sum(10 * block.heads + block.channels for block in plan)


@pytest.mark.parametrize(("guided", "rows"), [(False, 1), (True, 2)])
def test_cost_counts_each_stage_as_often_as_it_is_executed(guided: bool, rows: int) -> None:
    dense, half = (BlockPlan(4, 60),), (BlockPlan(2, 30),)
    stages = [Stage(high=999, low=600, blocks=half), Stage(high=599, low=0, blocks=dense)]
    cost = trajectory_cost(stages, [750, 500, 250, 0], cost_in_channels, dense, guided=guided)
    # dense costs 100 a row and step, half of it 50: one step in the first stage, three in the second
    assert cost.macs == rows * (50 + 3 * 100)
    assert cost.dense_macs == rows * 400
    assert cost.macs_removed == pytest.approx(0.125)


def test_a_stage_that_is_never_executed_saves_nothing() -> None:
    dense, nothing = (BlockPlan(4, 60),), (BlockPlan(0, 0),)
    stages = [Stage(high=999, low=800, blocks=nothing), Stage(high=799, low=0, blocks=dense)]
    cost = trajectory_cost(stages, [750, 500, 250, 0], cost_in_channels, dense, guided=True)
    assert cost.macs == cost.dense_macs


@pytest.mark.parametrize(("asked", "steered"), [(0, 1), (1, 1), (7.5, 7.5)])
def test_a_guidance_of_nothing_is_one(asked: float, steered: float) -> None:
    assert Sampler(class_name="DDIMScheduler", steps=4, guidance=asked).guidance == steered


@pytest.mark.parametrize("asked", [0.5, -1, float("nan")])
def test_a_guidance_between_none_and_one_is_refused(asked: float) -> None:
    with pytest.raises(ValidationError):
        Sampler(class_name="DDIMScheduler", steps=4, guidance=asked)
