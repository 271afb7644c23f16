"""Baselines searched from end to end, in the harness of our own search."""

from pathlib import Path
from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.schedule import Schedule
from search.options import MethodName, SearchOptions
from search.presets import setting_of
from search.problem import Problem
from search.state import SearchState
from tests.search.conftest import small_options
from tests.search.searching import count_distances, log_of, search

SEARCHES: tuple[MethodName, ...] = ("diff-es", "random")
SINGLE: tuple[MethodName, ...] = ("uniform", "mosaic")


def options_of(method: MethodName, **changes: Any) -> SearchOptions:
    return small_options(**({"method": method, "population": 8, **setting_of(method)} | changes))


@pytest.fixture(scope="module", params=[*SEARCHES, *SINGLE])
def finished(
    request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("search") / str(request.param)
    search(tiny_checkpoint, options_of(request.param), out)
    return out


def test_a_baseline_keeps_the_budget_and_leaves_a_schedule(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    log, schedule = log_of(finished), Schedule.load(finished / "schedule.json")
    schedule.require_fit(tiny_checkpoint.identity, tiny_checkpoint.architecture.dense, 1000)
    assert schedule.provenance["method"] == finished.name
    assert log["budget"]["achieved"] == schedule.provenance["achieved"]
    assert log["budget"]["achieved"] >= 0.375
    assert log["reproducible"]
    budget = Problem.of(tiny_checkpoint, small_options(**setting_of("diff-es"))).budget
    assert all(budget.feasible(genome) for memo in SearchState.load(finished).memos.values() for genome, _ in memo)


def test_a_baseline_measures_no_table_and_has_no_knapsack(finished: Path) -> None:
    assert not (finished / "table.json").exists()
    log = log_of(finished)
    assert log["knapsack"] is None
    assert "table" not in log["evaluations"]


def test_its_own_best_is_its_answer_whatever_held_out_noise_says(finished: Path) -> None:
    log = log_of(finished)
    assert log["chosen"] == log["generations"][-1]["best_genome"]
    assert log["chosen"] in [finalist["genome"] for finalist in log["finalists"]]
    assert log["uniform"]["held_out"] is not None


def test_evaluations_rise_and_the_best_falls_over_generations(finished: Path) -> None:
    generations = log_of(finished)["generations"]
    assert len(generations) == (1 if finished.name in SINGLE else 4)
    best = [generation["best"] for generation in generations]
    spent = [generation["evaluations"] for generation in generations]
    assert best == sorted(best, reverse=True)
    assert spent == sorted(spent)


def test_a_method_of_one_schedule_judges_one(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    search(tiny_checkpoint, options_of("uniform"), tmp_path / "out")
    log = log_of(tmp_path / "out")
    assert log["schedules"] == {"seen": 1, "judged": 1}
    assert log["chosen"] == log["uniform"]["genome"]


@pytest.mark.parametrize("method", SEARCHES)
def test_every_rollout_is_whole_and_counted_as_ours_are(
    tiny_checkpoint: Checkpoint, tmp_path: Path, method: MethodName, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_distances(monkeypatch, cut_at=None)
    search(tiny_checkpoint, options_of(method), tmp_path / "out")
    log = log_of(tmp_path / "out")
    problem = Problem.of(tiny_checkpoint, options_of(method))
    steps, rows = sum(problem.executed), 2 * problem.options.probes
    most = rows * steps * (1 - problem.options.share)
    assert len(made) == log["schedules"]["judged"] + len(log["finalists"])
    assert 0 < log["evaluations"]["evolve"] <= most * log["schedules"]["judged"]
    assert log["evaluations"]["teacher"] == rows * steps


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97], ids=["first population", "generation", "held-out"])
@pytest.mark.parametrize("method", SEARCHES)
def test_a_baseline_cut_anywhere_resumes_to_the_same_end(
    tiny_checkpoint: Checkpoint, tmp_path: Path, method: MethodName, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(method)
    whole = tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        all_made = count_distances(patch, cut_at=None)
        search(tiny_checkpoint, options, whole)
    rollouts = len(all_made)
    made = count_distances(monkeypatch, cut_at=max(1, int(share * rollouts)))
    with pytest.raises(KeyboardInterrupt):
        search(tiny_checkpoint, options, tmp_path / "cut")
    search(tiny_checkpoint, options, tmp_path / "cut", resume=True)
    assert len(made) == rollouts, "something was computed twice"
    assert (tmp_path / "cut/schedule.json").read_bytes() == (whole / "schedule.json").read_bytes()
    assert log_of(tmp_path / "cut") == log_of(whole)
