from pathlib import Path

from search.distributed.pooled import assignment, pieces
from search.error_table import table_passes
from search.problem import Problem


def test_only_entries_that_share_a_dense_step_go_together(problem: Problem) -> None:
    entries = [entry for entries in table_passes(problem.space, [0, 2], (2, 4), "teacher-forced") for entry in entries]
    found = pieces("teacher-forced", entries)
    assert [entry for piece in found for entry in piece] == entries
    assert [len(piece) for piece in found] == [2, 2, 1, 1, 2, 2]
    assert all(len({entry.stage for entry in piece}) == 1 for piece in found)


def test_every_rollout_goes_by_itself(problem: Problem) -> None:
    entries = [entry for entries in table_passes(problem.space, [0, 2], (2, 4), "rollout") for entry in entries]
    assert pieces("rollout", entries) == [(entry,) for entry in entries]


def test_a_worker_is_told_absolute_places_and_its_device(problem: Problem) -> None:
    given = assignment(problem, None, Path("calibration.safetensors"), "cuda:1")
    assert given.checkpoint.is_absolute()
    assert given.calibration.is_absolute()
    assert given.options.device == "cuda:1"
    assert problem.options.difference(given.options) == "device: cpu → cuda:1"
