import json
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from diffes.pruning.calibration import Calibration, CalibrationSpec
from diffes.schedule import Schedule
from search.error_table import errors_of
from search.evaluations import Evaluations
from search.memo import Memo, code_version
from search.problem import Problem
from search.report import Findings, write_report, write_table
from search.state import SearchState

UNIFORM, KNAPSACK = (2,) * 10, (1, 3) * 5


@pytest.fixture
def findings(problem: Problem, tiny_calibration: Calibration) -> Findings:
    return Findings(
        problem=problem,
        state=SearchState(
            options=problem.options,
            model=problem.checkpoint.identity,
            code=code_version(),
            budget=problem.budget_digest,
            stopped="generations",
        ),
        memo=Memo([(KNAPSACK, 0.2), (UNIFORM, 0.4), ((4,) * 10, None)]),
        held_out=Memo([(KNAPSACK, 0.25), (UNIFORM, 0.5)]),
        uniform=UNIFORM,
        knapsack=KNAPSACK,
        predicted=0.15,
        chosen=KNAPSACK,
        calibration=tiny_calibration,
        evaluations=Evaluations({"table": 3000, "evolve": 5000}, dense=1000),
    )


def written(path: Path) -> Any:
    """JSON as other languages read it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_schedule_says_which_calibration_it_is_for(findings: Findings, tmp_path: Path) -> None:
    write_report(findings, tmp_path)
    provenance = Schedule.load(tmp_path / "schedule.json").provenance
    assert provenance["ordering"] == findings.calibration.ordering_digest
    assert CalibrationSpec.from_json(provenance["calibration"]) == findings.calibration.spec


def test_the_log_holds_what_was_compared(findings: Findings, tmp_path: Path) -> None:
    write_report(findings, tmp_path)
    log = written(tmp_path / "search.json")
    assert log["excluded"] == 1
    assert log["knapsack"]["predicted"] == 0.15
    assert log["uniform"]["held_out"] == 0.5
    assert log["evaluations"] == {"table": 3.0, "evolve": 5.0, "total": 8.0}
    assert log["budget"]["achieved"] == findings.problem.budget.removed(KNAPSACK)


def test_a_search_that_skipped_part_of_the_table_is_not_called_reproducible(findings: Findings, tmp_path: Path) -> None:
    write_report(findings, tmp_path)
    assert written(tmp_path / "search.json")["reproducible"] is False
    findings.state.table = {entry.name: 1.0 for entries in findings.problem.passes for entry in entries}
    write_report(findings, tmp_path)
    assert written(tmp_path / "search.json")["reproducible"] is True


def test_the_summary_gives_the_ratio_to_uniform(findings: Findings) -> None:
    assert "mse 0.25 on held-out noise, 0.50 of the uniform schedule's" in findings.summary()
    failed = replace(findings, held_out=Memo([(KNAPSACK, 0.25), (UNIFORM, None)]))
    assert "uniform" not in failed.summary()


def test_the_table_keeps_what_was_measured_and_what_follows(problem: Problem, tmp_path: Path) -> None:
    table = {
        entry.name: float(entry.level if entry.gene is not None else 4.0)
        for entries in problem.passes
        for entry in entries
    }
    table["4/0/heads/4"] = inf
    errors = errors_of(table, problem.space, problem.budget, problem.table_levels)
    write_table(problem, table, errors, tmp_path)
    document = written(tmp_path / "table.json")
    assert document["measured"]["4/0/heads/4"] is None
    assert document["errors"]["4/0/heads"] == [0, 1, 2, 3, None]
    assert document["errors"]["0/0/heads"] == [0, 0, 0, 0, 0]
