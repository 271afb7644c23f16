from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError
from diffes.pruning.calibration import Calibration
from search.distributed.arithmetic import arithmetic
from search.distributed.messages import Answer, Assignment, Judge, Measure, Raised, Ready
from search.distributed.teachers import save_teacher
from search.distributed.worker import Worker, answered, started
from search.error_table import ErrorTable
from search.fitness import Distance
from search.problem import Problem
from tests.search.conftest import small_options

HALF = (2, 2) * 5


@pytest.fixture(scope="module")
def given(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Assignment:
    calibration = tmp_path_factory.mktemp("worker") / "calibration.safetensors"
    tiny_calibration.save(calibration)
    return Assignment(tiny_checkpoint.folder, small_options(), None, calibration, torch.get_num_threads())


@pytest.fixture(scope="module")
def worker(given: Assignment) -> Worker:
    return Worker.of(given)


def test_a_worker_finds_what_the_search_would_to_the_last_bit(
    worker: Worker, distance: Distance, problem: Problem, tmp_path: Path
) -> None:
    part = distance.rows(slice(0, 2))
    save_teacher(part.teacher, tmp_path / "part")
    judged = answered(worker, Judge("part", HALF), tmp_path.joinpath)
    assert judged == Answer([part(HALF)])

    entries = tuple(problem.passes[0][:3])
    measured = answered(worker, Measure("part", entries), tmp_path.joinpath)
    table = ErrorTable(part, problem.options.table)
    assert measured == Answer([table.measure(entry) for entry in entries])


def test_a_teacher_is_fetched_once(worker: Worker, distance: Distance, tmp_path: Path) -> None:
    save_teacher(distance.teacher, tmp_path / "once")
    answered(worker, Judge("once", HALF), tmp_path.joinpath)
    (tmp_path / "once").unlink()
    assert answered(worker, Judge("once", HALF), tmp_path.joinpath) == Answer([distance(HALF)])


def test_a_started_worker_says_what_its_floats_depend_on(given: Assignment) -> None:
    worker, reply = started(given)
    assert worker is not None
    assert reply == Ready(arithmetic("cpu"))
    assert f"{torch.get_num_threads()} threads" in arithmetic("cpu")


def test_a_worker_without_the_checkpoint_says_so(given: Assignment, tmp_path: Path) -> None:
    worker, reply = started(replace(given, checkpoint=tmp_path / "nowhere"))
    assert worker is None
    assert isinstance(reply, Raised)
    assert isinstance(reply.error, CheckpointError)


def test_an_error_in_a_task_is_the_answer(worker: Worker, tmp_path: Path) -> None:
    reply = answered(worker, Judge("missing", HALF), tmp_path.joinpath)
    assert isinstance(reply, Raised)
    assert isinstance(reply.error, FileNotFoundError)
