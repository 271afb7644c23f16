from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput, ScheduleError
from diffes.presets import uniform_schedule
from diffes.schedule import Sampler
from export.schedules import Defaults, default_sampler, read_schedules
from tests.test_pareto import some_front

SAMPLER = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)
DEFAULTS = Defaults(SAMPLER, stages=4)


def test_what_has_no_name_is_called_after_itself(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "night.json"
    uniform_schedule(tiny_checkpoint, SAMPLER, 0.25, 4, "bias").save(file)

    found = read_schedules(tiny_checkpoint, ["uniform:0.5", "dense", str(file), "fast=uniform:0.75"], DEFAULTS)

    assert list(found) == ["uniform-0.5", "dense", "night", "fast"]
    assert [round(s.cost.macs_removed, 1) for s in found.values()] == [0.5, 0.0, 0.2, 0.7]


def test_a_file_keeps_its_compensation_unless_another_is_asked_for(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    uniform_schedule(tiny_checkpoint, SAMPLER, 0.25, 4, "bias").save(file)

    kept = read_schedules(tiny_checkpoint, [str(file)], DEFAULTS)
    asked = read_schedules(tiny_checkpoint, [str(file)], Defaults(SAMPLER, 4, "none"))

    assert kept["s"].compensation == "bias"
    assert asked["s"].compensation == "none"
    assert kept["s"].stages == asked["s"].stages


def test_uniform_takes_full_compensation_unless_another_is_asked_for(tiny_checkpoint: Checkpoint) -> None:
    assert read_schedules(tiny_checkpoint, ["uniform:0.5"], DEFAULTS)["uniform-0.5"].compensation == "full"


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["dense", "a=dense", "a=uniform:0.5"], InvalidInput, "a twice"),
        (["uniform:half"], InvalidInput, "uniform:SHARE.*found uniform:half"),
        (["uniform:1.5"], ScheduleError, "one of 0, 0.25, 0.5, 0.75, 1, found 1.5"),
        (["nowhere.json"], ScheduleError, "nowhere.json"),
        (["nowhere.json@0.5"], ScheduleError, "cannot read front nowhere.json"),
        ([], InvalidInput, "found none"),
    ],
)
def test_a_specification_that_means_nothing_is_refused(
    texts: list[str], error: type[Exception], message: str, tiny_checkpoint: Checkpoint
) -> None:
    with pytest.raises(error, match=message):
        read_schedules(tiny_checkpoint, texts, DEFAULTS)


def test_an_unknown_compensation_is_refused_even_where_nothing_is_pruned(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="none, bias, low-rank:RANK or full .*found some"):
        read_schedules(tiny_checkpoint, ["dense"], Defaults(SAMPLER, 4, "some"))


def test_the_sampler_is_the_checkpoints_unless_another_is_named(tiny_checkpoint: Checkpoint) -> None:
    assert default_sampler(tiny_checkpoint, None, 4, 1.5).class_name == "DDIMScheduler"
    assert default_sampler(tiny_checkpoint, "EulerDiscreteScheduler", 4, 1.5).class_name == "EulerDiscreteScheduler"


@pytest.fixture
def front_file(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    folder = tmp_path / "of@home"
    some_front(tiny_checkpoint).save(folder / "pareto.json")
    return folder / "pareto.json"


def test_a_point_of_a_front_is_named_by_what_it_removes(tiny_checkpoint: Checkpoint, front_file: Path) -> None:
    points = some_front(tiny_checkpoint).points
    found = read_schedules(tiny_checkpoint, [f"{front_file}@0.375", f"fast={front_file}@0.6"], DEFAULTS)
    assert found == {"pareto-0.375": points[1].schedule, "fast": points[2].schedule}


def test_a_point_of_a_front_takes_another_compensation(tiny_checkpoint: Checkpoint, front_file: Path) -> None:
    found = read_schedules(tiny_checkpoint, [f"{front_file}@0.5"], Defaults(SAMPLER, 4, "none"))
    assert found["pareto-0.5"].compensation == "none"


def test_a_bare_front_is_refused_by_what_it_offers(tiny_checkpoint: Checkpoint, front_file: Path) -> None:
    with pytest.raises(InvalidInput, match=r"pareto\.json@SHARE, found a front that removes 0\.2\d+, 0\.4\d+, 0\.7\d+"):
        read_schedules(tiny_checkpoint, [str(front_file)], DEFAULTS)


def test_a_share_off_the_front_or_no_number_is_refused(tiny_checkpoint: Checkpoint, front_file: Path) -> None:
    with pytest.raises(ScheduleError, match=r"expected 0\.2 to 0\.7\d* of the MACs removed, found 0\.95"):
        read_schedules(tiny_checkpoint, [f"{front_file}@0.95"], DEFAULTS)
    with pytest.raises(InvalidInput, match="FRONT@SHARE with SHARE in 0..1, found .*@half"):
        read_schedules(tiny_checkpoint, [f"{front_file}@half"], DEFAULTS)


def test_a_file_with_an_at_in_its_name_is_a_file(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "s@0.5"
    uniform_schedule(tiny_checkpoint, SAMPLER, 0.25, 4, "bias").save(file)
    assert [s.compensation for s in read_schedules(tiny_checkpoint, [str(file)], DEFAULTS).values()] == ["bias"]
