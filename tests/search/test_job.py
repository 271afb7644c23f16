"""Searches of the tiny model from end to end."""

from math import nan
from pathlib import Path
from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError, SearchError
from diffes.schedule import Schedule
from search.fitness import Distance
from search.problem import Problem
from search.state import STATE_FILE, SearchState
from tests.search.conftest import small_options
from tests.search.searching import log_of, search


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "whole"
    search(tiny_checkpoint, small_options(), out)
    return out


def test_a_search_leaves_everything_an_export_needs(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {*("schedule.json", "search.json", "table.json", "checkpoint.json", "calibration.safetensors")}
    schedule = Schedule.load(finished / "schedule.json")
    schedule.require_fit(tiny_checkpoint.identity, tiny_checkpoint.architecture.dense, 1000)
    assert schedule.compensation == "full"
    assert len(schedule.stages) == 5


def test_the_budget_is_kept_and_reported(finished: Path) -> None:
    log = log_of(finished)
    assert Schedule.load(finished / "schedule.json").cost.macs_removed == pytest.approx(log["budget"]["achieved"])
    assert log["budget"]["achieved"] >= log["budget"]["asked"] == 0.375
    assert all(finalist["removed"] >= 0.375 for finalist in log["finalists"])


def test_every_schedule_ever_evaluated_kept_the_budget(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    budget = Problem.of(tiny_checkpoint, small_options()).budget
    memos = SearchState.load(finished).memos.values()
    assert max(len(memo) for memo in memos) == 18
    assert all(budget.feasible(genome) for memo in memos for genome, _ in memo)


def test_the_result_is_no_worse_than_uniform_on_probes_and_on_held_out_noise(finished: Path) -> None:
    log = log_of(finished)
    assert log["generations"][-1]["best"] <= log["uniform"]["objective"]
    chosen = next(f for f in log["finalists"] if f["genome"] == log["chosen"])
    assert chosen["held_out"] == min(f["held_out"] for f in log["finalists"])
    assert chosen["held_out"] <= log["uniform"]["held_out"]


def test_the_best_of_a_generation_is_never_worse_than_the_one_before(finished: Path) -> None:
    best = [generation["best"] for generation in log_of(finished)["generations"]]
    assert len(best) == 4
    assert best == sorted(best, reverse=True)


def test_a_stage_that_never_runs_is_left_dense(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    log = log_of(finished)
    idle = log["budget"]["executed_steps"].index(0)
    assert Schedule.load(finished / "schedule.json").stages[idle].blocks == tiny_checkpoint.architecture.dense


def test_equal_searches_end_equally(finished: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    search(tiny_checkpoint, small_options(), tmp_path / "again")
    assert (tmp_path / "again/schedule.json").read_bytes() == (finished / "schedule.json").read_bytes()
    assert log_of(tmp_path / "again") == log_of(finished)


def test_a_finished_search_is_not_repeated(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    before = (finished / STATE_FILE).stat().st_mtime_ns
    schedule, said = search(tiny_checkpoint, small_options(), finished, resume=True)
    assert schedule == Schedule.load(finished / "schedule.json")
    assert "is finished" in said
    assert (finished / STATE_FILE).stat().st_mtime_ns == before


def test_a_folder_with_a_search_is_refused_without_resume(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match="already holds a search.*--resume"):
        search(tiny_checkpoint, small_options(), finished)


def test_a_folder_with_something_else_is_refused(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for resume in (False, True):
        with pytest.raises(SearchError, match=r"files of something else.*found thesis\.tex"):
            search(tiny_checkpoint, small_options(), tmp_path, resume=resume)


def test_resuming_with_other_options_names_the_difference(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(SearchError, match=r"macs: 0\.375 → 0\.5, probes: 4 → 5"):
        search(tiny_checkpoint, small_options(macs=0.5, probes=5), finished, resume=True)


def test_an_unreachable_budget_is_refused_before_anything_is_written(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=r"at most 0\.97\d* of the MACs"):
        search(tiny_checkpoint, small_options(macs=0.99), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_refused(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="torch has no such device"):
        search(tiny_checkpoint, small_options(device="nonsense"), tmp_path / "out")


def test_a_time_limit_ends_the_evolution_and_says_so(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, said = search(tiny_checkpoint, small_options(generations=500, time_limit=0.01), out)
    log = log_of(out)
    assert log["stopped"] == "time limit"
    assert not log["reproducible"]
    assert log["schedules"]["judged"] == 1
    assert log["chosen"]
    assert "the time limit stopped the table after 12 of 36 entries" in said
    assert "the time limit stopped the evolution after 0 of 500 generations" in said


def test_schedules_that_diverge_are_left_out_and_counted(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Distance.__call__

    def diverging(distance: Distance, genome: Any) -> float:
        return nan if sum(genome) % 2 else measure(distance, genome)

    monkeypatch.setattr(Distance, "__call__", diverging)
    out = tmp_path / "out"
    search(tiny_checkpoint, small_options(), out)
    log = log_of(out)
    assert log["excluded"] > 0
    assert sum(log["chosen"]) % 2 == 0


def test_a_search_in_which_everything_diverges_is_an_error(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distance, "__call__", lambda _distance, _genome: nan)
    with pytest.raises(SearchError, match="no schedule's samples are finite"):
        search(tiny_checkpoint, small_options(), tmp_path / "out")
    assert not (tmp_path / "out/schedule.json").exists()
