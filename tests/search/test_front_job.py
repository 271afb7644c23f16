"""Searches of a Pareto front of the tiny model from end to end."""

from math import nan
from pathlib import Path
from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError, SearchError
from diffes.pareto import ParetoFront
from search.distributed import LocalWorkers
from search.fitness import Distance
from search.job import run_front, run_search
from search.problem import Problem
from search.state import STATE_FILE, SearchState
from tests.search.conftest import front_options, small_options
from tests.search.searching import log_of, search_front


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("front") / "whole"
    search_front(tiny_checkpoint, front_options(), out)
    return out


@pytest.fixture(scope="module")
def front(finished: Path) -> ParetoFront:
    return ParetoFront.load(finished / "pareto.json")


def test_a_front_leaves_everything_an_export_needs(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        *("pareto.json", "search.json", "table.json", "checkpoint.json", "calibration.safetensors")
    }


def test_every_point_is_a_schedule_of_the_model_at_the_cost_it_says(
    front: ParetoFront, tiny_checkpoint: Checkpoint
) -> None:
    budget = Problem.of(tiny_checkpoint, front_options()).budget
    assert len(front.points) >= 3
    for point in (*front.points, *front.uniform):
        point.schedule.require_fit(tiny_checkpoint.identity, tiny_checkpoint.architecture.dense, 1000)
        assert point.schedule.cost.macs_removed == pytest.approx(point.removed)
        assert point.cost == pytest.approx((1 - point.removed) * budget.dense)


def test_the_front_spans_the_range_and_error_rises_with_what_is_removed(front: ParetoFront) -> None:
    removed = [point.removed for point in front.points]
    errors = [point.held_out for point in front.points if point.held_out is not None]
    assert removed == sorted(set(removed))
    assert removed[0] >= 0.2
    assert removed[-1] >= 0.6
    assert errors == sorted(set(errors))


def test_one_point_at_most_removes_more_than_the_range_asks(front: ParetoFront) -> None:
    assert sum(point.removed > 0.6 for point in front.points) <= 1


def test_every_schedule_ever_judged_was_within_the_range(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    budgets = Problem.of(tiny_checkpoint, front_options()).budgets
    memos = SearchState.load(finished).memos.values()
    assert sum(map(len, memos)) > 20
    assert all(budgets.holds(genome) for memo in memos for genome, _ in memo)


def test_the_archive_is_never_above_uniform_at_the_same_cost(finished: Path) -> None:
    log = log_of(finished)
    assert len(log["uniforms"]) == 2
    for uniform in log["uniforms"]:
        share = min(uniform["removed"], 0.6)  # what is removed beyond the range does not count
        no_dearer = [point["objective"] for point in log["archive"] if point["removed"] >= share]
        assert min(no_dearer) <= uniform["objective"]


def test_nor_is_the_front_on_held_out_noise(front: ParetoFront) -> None:
    for uniform in front.uniform:
        ours = front.at(min(uniform.removed, 0.6))
        assert ours.held_out is not None
        assert uniform.held_out is None or ours.held_out <= uniform.held_out


def test_the_front_on_the_probes_never_gets_worse(finished: Path) -> None:
    typical = [generation["typical_error"] for generation in log_of(finished)["generations"]]
    assert len(typical) == 4
    assert typical == sorted(typical, reverse=True)


def test_equal_searches_end_equally(finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    search_front(tiny_checkpoint, front_options(), tmp_path / "again")
    assert (tmp_path / "again/pareto.json").read_bytes() == (finished / "pareto.json").read_bytes()
    assert log_of(tmp_path / "again") == log_of(finished)


def test_two_workers_find_the_same_front(finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    search_front(tiny_checkpoint, front_options(), tmp_path / "workers", distribution=LocalWorkers(2))
    assert (tmp_path / "workers/pareto.json").read_bytes() == (finished / "pareto.json").read_bytes()
    assert log_of(tmp_path / "workers") == log_of(finished)


def test_a_finished_front_is_not_repeated(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    before = (finished / STATE_FILE).stat().st_mtime_ns
    front, said = search_front(tiny_checkpoint, front_options(), finished, resume=True)
    assert front == ParetoFront.load(finished / "pareto.json")
    assert "is finished" in said
    assert (finished / STATE_FILE).stat().st_mtime_ns == before


def test_a_search_of_another_range_is_another_search(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match=r"macs: \(0\.2, 0\.6\) → \(0\.2, 0\.5\)"):
        search_front(tiny_checkpoint, front_options(macs="0.2:0.5"), finished, resume=True)


def test_a_range_whose_end_is_out_of_reach_is_refused(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"at most 0\.97\d* of the MACs"):
        search_front(tiny_checkpoint, front_options(macs=(0.2, 0.99)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_console_says_how_the_front_compares_with_uniform(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    _, said = search_front(tiny_checkpoint, front_options(generations=0), tmp_path)
    assert "a front that removes 20.0% to 60.0% of the MACs" in said
    assert "mse on held-out noise over uniform's:" in said


@pytest.mark.parametrize(
    "space",
    [{"genes": "block"}, {"depth": "alone", "genes": "block"}, {"macs": None, "weights": (0.2, 0.5)}],
    ids=["blocks", "whole blocks", "weights"],
)
def test_any_space_has_a_front(tiny_checkpoint: Checkpoint, tmp_path: Path, space: dict[str, Any]) -> None:
    options = front_options(generations=2, screen_probes=None, **space)
    front, _ = search_front(tiny_checkpoint, options, tmp_path)
    budgets = Problem.of(tiny_checkpoint, options).budgets
    problem = Problem.of(tiny_checkpoint, options)
    assert all(budgets.holds(problem.genome(point.schedule)) for point in front.points)


def test_a_time_limit_leaves_what_was_found_and_uniform(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    front, said = search_front(tiny_checkpoint, front_options(generations=500, time_limit=0.01), tmp_path)
    assert log_of(tmp_path)["stopped"] == "time limit"
    assert front.points
    assert "the time limit stopped the evolution" in said


def test_schedules_that_diverge_are_left_out(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Distance.__call__

    def diverging(distance: Distance, genome: Any) -> float:
        return nan if sum(genome) % 2 else measure(distance, genome)

    monkeypatch.setattr(Distance, "__call__", diverging)
    front, _ = search_front(tiny_checkpoint, front_options(), tmp_path)
    assert log_of(tmp_path)["excluded"] > 0
    assert all(sum(point.schedule.provenance["genome"]) % 2 == 0 for point in front.points)  # type: ignore[arg-type]


def test_a_search_in_which_everything_diverges_is_an_error(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distance, "__call__", lambda _distance, _genome: nan)
    with pytest.raises(SearchError, match="no schedule's samples are finite"):
        search_front(tiny_checkpoint, front_options(), tmp_path)
    assert not (tmp_path / "pareto.json").exists()


def test_one_share_and_a_range_are_asked_for_apart(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run_front"):
        run_search(tiny_checkpoint, front_options(), tmp_path)
    with pytest.raises(ValueError, match="run_search"):
        run_front(tiny_checkpoint, small_options(), tmp_path)


def test_a_point_is_taken_by_the_share_it_removes(front: ParetoFront) -> None:
    point = front.at(0.375)
    assert point.removed >= 0.375
    assert not [p for p in front.points if 0.375 <= p.removed < point.removed]
    with pytest.raises(ScheduleError, match=r"expected 0\.2 to 0\.\d+ of the MACs removed, found 0\.7"):
        front.at(0.7)
