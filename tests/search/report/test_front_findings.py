import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from diffes.pareto import ParetoFront
from diffes.pruning.calibration import Calibration, CalibrationSpec
from search.archive import archive_of
from search.evaluations import Evaluations
from search.front_population import FrontReferences
from search.ladder import Ladder, Rung
from search.memo import Memo, code_version
from search.problem import Problem
from search.report.front_findings import FrontFindings, write_front
from search.state import Generation, SearchState
from tests.search.conftest import front_options

LOW, HIGH, BETTER, FAILED = (1,) * 10, (3,) * 10, (1, 3) * 5, (4,) * 10


@pytest.fixture
def findings(problem: Problem, tiny_calibration: Calibration) -> FrontFindings:
    checkpoint, options = problem.checkpoint, front_options()
    problem = Problem.of(checkpoint, options)
    memo = Memo([(LOW, 0.2), (HIGH, 0.8), (FAILED, None), (BETTER, 0.4)])
    held_out = Memo([(LOW, 0.25), (HIGH, 0.75), (BETTER, 0.5)])
    state = SearchState(
        options=options,
        model=checkpoint.identity,
        code=code_version(),
        budget=problem.budget_digest,
        stopped="generations",
        generations=[
            Generation(number=n, best=0.2, mean=None, schedules=s, evaluations=n, seconds=n, best_genome=LOW)
            for n, s in ((0, 2), (1, 4))
        ],
    )
    return FrontFindings(
        problem=problem,
        state=state,
        ladder=Ladder((Rung(4, memo, lambda _: None),)),
        references=FrontReferences(knapsacks=(BETTER,), uniforms=(HIGH, LOW)),
        archive=archive_of(memo.entries(), problem.budgets.counted),
        held_out=held_out,
        front=archive_of(held_out.entries(), problem.budgets.counted),
        calibration=tiny_calibration,
        evaluations=Evaluations({"table": 3000, "evolve": 5000}, dense=1000),
    )


def written(path: Path) -> Any:
    """JSON as other languages read it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_front_reads_back_as_it_was_written(findings: FrontFindings, tmp_path: Path) -> None:
    front = write_front(findings, tmp_path)
    assert ParetoFront.load(tmp_path / "pareto.json") == front
    assert [point.held_out for point in front.points] == [0.25, 0.5, 0.75]
    assert [point.held_out for point in front.uniform] == [0.25, 0.75]
    assert (front.unit, front.shares) == ("MACs", (0.2, 0.6))


def test_every_point_says_which_calibration_it_is_for_and_what_was_asked(
    findings: FrontFindings, tmp_path: Path
) -> None:
    for point in write_front(findings, tmp_path).points:
        provenance = point.schedule.provenance
        assert provenance["ordering"] == findings.calibration.ordering_digest
        assert CalibrationSpec.from_json(provenance["calibration"]) == findings.calibration.spec
        assert provenance["asked"] == [0.2, 0.6]
        assert provenance["held_out"] == point.held_out


def test_the_log_follows_the_front_over_the_generations(findings: FrontFindings, tmp_path: Path) -> None:
    write_front(findings, tmp_path)
    log = written(tmp_path / "search.json")
    assert [generation["points"] for generation in log["generations"]] == [2, 3]
    first, last = (generation["typical_error"] for generation in log["generations"])
    assert last < first
    assert log["excluded"] == 1
    assert [point["genome"] for point in log["front"]] == [list(LOW), list(BETTER), list(HIGH)]
    assert log["options"]["macs"] == [0.2, 0.6]


def test_a_front_is_compared_with_uniform_where_uniform_is_known(findings: FrontFindings) -> None:
    assert [ratio for _, ratio in findings.ratios()] == [1.0, 1.0]
    assert "over uniform's: 1.00 at " in findings.summary()
    findings.held_out.add(LOW, inf)
    assert len(findings.ratios()) == 1


def test_the_log_holds_what_the_fronts_figure_shows(findings: FrontFindings, tmp_path: Path) -> None:
    write_front(findings, tmp_path)
    log, budget = written(tmp_path / "search.json"), findings.problem.budget
    assert log["judged"] == [[budget.removed(g), findings.memo[g]] for g in (LOW, HIGH, BETTER)]
    for point in log["front"]:
        steps = log["space"]["executed_steps"]
        parts = [share * count / sum(steps) for share, count in zip(point["by_stage"], steps, strict=True)]
        assert sum(parts) == pytest.approx(point["removed"])
