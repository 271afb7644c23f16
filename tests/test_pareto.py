import json
from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError
from diffes.pareto import ParetoFront, ParetoPoint
from diffes.presets import uniform_schedule
from diffes.schedule import Sampler

SAMPLER = Sampler.model_validate({"class": "DDIMScheduler", "steps": 4, "guidance": 1.5})


def some_front(checkpoint: Checkpoint) -> ParetoFront:
    """Uniform schedules of the tiny model, called a front that was asked for from 0.2 on."""
    schedules = [uniform_schedule(checkpoint, SAMPLER, share, 4, "full") for share in (0.25, 0.5, 0.75)]
    points = [
        ParetoPoint(
            removed=schedule.cost.macs_removed,
            cost=schedule.cost.macs,
            objective=error,
            held_out=error,
            schedule=schedule,
        )
        for schedule, error in zip(schedules, (0.1, 0.2, 0.4), strict=True)
    ]
    return ParetoFront(model=checkpoint.identity, sampler=SAMPLER, unit="MACs", shares=(0.2, 0.7), points=tuple(points))


@pytest.fixture
def front(tiny_checkpoint: Checkpoint) -> ParetoFront:
    return some_front(tiny_checkpoint)


def test_a_front_reads_back_as_it_was_written(front: ParetoFront, tmp_path: Path) -> None:
    front.save(tmp_path / "pareto.json")
    assert ParetoFront.load(tmp_path / "pareto.json") == front


def test_a_share_takes_the_least_point_that_removes_it(front: ParetoFront) -> None:
    first, second, third = front.points
    assert [front.at(share) for share in (0.2, first.removed, 0.3, second.removed, third.removed)] == [
        *(first, first, second, second, third)
    ]


@pytest.mark.parametrize("share", [0.1, 0.19, 0.9, float("nan")])
def test_a_share_outside_the_front_is_refused_by_its_range(front: ParetoFront, share: float) -> None:
    with pytest.raises(ScheduleError, match=r"expected 0\.2 to 0\.7\d* of the MACs removed, found"):
        front.at(share)


def test_points_that_do_not_rise_are_refused(front: ParetoFront, tmp_path: Path) -> None:
    document = front.model_dump(mode="json", by_alias=True)
    document["points"] = document["points"][::-1]
    (tmp_path / "pareto.json").write_text(json.dumps(document))
    with pytest.raises(ScheduleError, match="malformed at the top: expected .*points must rise"):
        ParetoFront.load(tmp_path / "pareto.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read front"),
        ("[]", "unknown format"),
        ('{"format": 2}', "unknown format.*found format 2"),
        ('{"format": 1, "points": []}', "malformed at"),
    ],
)
def test_what_is_no_front_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pareto.json").write_text(text)
    with pytest.raises(ScheduleError, match=message):
        ParetoFront.load(tmp_path / "pareto.json")


def test_a_front_is_told_from_a_schedule(front: ParetoFront, tmp_path: Path) -> None:
    front.save(tmp_path / "pareto.json")
    front.points[0].schedule.save(tmp_path / "schedule.json")
    assert ParetoFront.is_in(tmp_path / "pareto.json")
    assert not ParetoFront.is_in(tmp_path / "schedule.json")
    assert not ParetoFront.is_in(tmp_path / "nowhere.json")
