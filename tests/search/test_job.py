"""Searches of the tiny model from end to end, one of them killed."""

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from math import nan
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.schedule import Schedule
from search.fitness import Distance
from search.job import run_search
from search.options import SearchOptions
from search.problem import Problem
from search.state import STATE_FILE, SearchState
from tests.search.conftest import small_options

_CHILD = """
import sys
from pathlib import Path
from diffes.checkpoint import Checkpoint
from search.job import run_search
from search.options import SearchOptions
options = SearchOptions.model_validate_json(sys.argv[1])
run_search(Checkpoint.open(Path(sys.argv[2])), options, Path(sys.argv[3]))
"""


def search(checkpoint: Checkpoint, options: SearchOptions, out: Path, *, resume: bool = False) -> tuple[Schedule, str]:
    said = StringIO()
    console = Console(file=said, width=200)
    return run_search(checkpoint, options, out, resume=resume, console=console), said.getvalue()


def log_of(out: Path) -> dict[str, Any]:
    """The log without what differs from run to run."""
    log: dict[str, Any] = json.loads((out / "search.json").read_text())
    del log["seconds"]
    for generation in log["generations"]:
        del generation["seconds"]
    return log


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "whole"
    search(tiny_checkpoint, small_options(), out)
    return out


def test_a_search_leaves_everything_an_export_needs(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        *("schedule.json", "search.json", "search.png", "table.json", "checkpoint.json", "calibration.safetensors")
    }
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
    state = SearchState.load(finished)
    assert len(state.memo) == 18
    assert all(budget.feasible(genome) for genome, _ in state.memo)


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


@pytest.fixture(scope="module")
def by_rollouts(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search whose table is measured by rollouts too, and how many rollouts it took."""
    out = tmp_path_factory.mktemp("search") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        made = count_distances(patch, cut_at=None)
        search(tiny_checkpoint, small_options(table="rollout"), out)
    return out, len(made)


@pytest.mark.parametrize("calls", [3, 35, 44, 51], ids=["table", "first population", "generation", "held-out"])
def test_a_search_cut_anywhere_resumes_to_the_same_end(
    by_rollouts: tuple[Path, int],
    tiny_checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
) -> None:
    whole, rollouts = by_rollouts
    made = count_distances(monkeypatch, cut_at=calls)
    options = small_options(table="rollout")
    with pytest.raises(KeyboardInterrupt):
        search(tiny_checkpoint, options, tmp_path)
    search(tiny_checkpoint, options, tmp_path, resume=True)
    assert len(made) == rollouts, "something was computed twice"
    assert (tmp_path / "schedule.json").read_bytes() == (whole / "schedule.json").read_bytes()
    assert log_of(tmp_path) == log_of(whole)


def count_distances(monkeypatch: pytest.MonkeyPatch, cut_at: int | None) -> list[object]:
    """Every genome rolled out from now on; the rollout after `cut_at` of them is interrupted once."""
    made: list[object] = []
    cut: list[bool] = []
    measure = Distance.__call__

    def counted(distance: Distance, genome: Any) -> float:
        if len(made) == cut_at and not cut:
            cut.append(True)
            raise KeyboardInterrupt
        made.append(genome)
        return measure(distance, genome)

    monkeypatch.setattr(Distance, "__call__", counted)
    return made


def test_a_killed_search_resumes_to_the_same_end(
    tiny_checkpoint: Checkpoint, tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = small_options(generations=30)
    search(tiny_checkpoint, options, tmp_path / "whole")
    killed = tmp_path / "killed"
    kill_after_generations(5, options, tiny_model_folder, killed)
    assert not (killed / "schedule.json").exists()
    search(tiny_checkpoint, options, killed, resume=True)
    assert (killed / "schedule.json").read_bytes() == (tmp_path / "whole/schedule.json").read_bytes()
    assert log_of(killed) == log_of(tmp_path / "whole")


def kill_after_generations(count: int, options: SearchOptions, model: Path, out: Path) -> None:
    """Search in a process of its own and kill -9 it once `count` generations are on disk."""
    command = [sys.executable, "-c", _CHILD, options.model_dump_json(), str(model), str(out)]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL) as child:
        try:
            while child.poll() is None and generations_on_disk(out) < count:
                time.sleep(0.002)
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "the search was over before it could be killed"


def generations_on_disk(out: Path) -> int:
    state = out / STATE_FILE
    return len(json.loads(state.read_text())["generations"]) if state.exists() else 0


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
    with pytest.raises(SearchError, match="expected cpu, or a CUDA device torch sees, found nonsense"):
        search(tiny_checkpoint, small_options(device="nonsense"), tmp_path / "out")


def test_a_time_limit_ends_the_evolution_and_says_so(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, said = search(tiny_checkpoint, small_options(generations=500, time_limit=0.01), out)
    log = log_of(out)
    assert log["stopped"] == "time limit"
    assert not log["reproducible"]
    assert 1 <= log["evaluations"] < 10
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
