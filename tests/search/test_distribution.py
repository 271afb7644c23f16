from pathlib import Path

from search.distribution import Serial
from search.fitness import Distance
from search.problem import Problem

HALF = (2, 2) * 5


def test_serial_values_are_found_when_asked_for(distance: Distance, problem: Problem, tmp_path: Path) -> None:
    with Serial().open(problem, None, tmp_path / "calibration", tmp_path / "scratch") as evaluators:
        judged = evaluators.evaluator(distance)([HALF, (1, 0) * 5])
        assert next(judged) == distance(HALF)
        entries = problem.passes[0][:2]
        assert len(list(evaluators.measured(distance, problem.options.table, entries))) == 2


def test_what_a_killed_searchs_workers_left_is_removed(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / ".workers"
    scratch.mkdir()
    (scratch / "teacher-0.safetensors").write_text("stale")
    with Serial().open(problem, None, tmp_path / "calibration", scratch):
        assert not scratch.exists()
