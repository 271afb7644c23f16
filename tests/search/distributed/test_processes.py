"""Searches of the tiny model on real processes: they take seconds to start, so each test proves several things."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from search.distributed import LocalWorkers
from search.distributed.messages import Task
from search.distributed.processes import ProcessCrew
from tests.search.conftest import small_options
from tests.search.searching import generations_on_disk, log_of, search

_OPTIONS = small_options(generations=12)

_CHILD = """
import sys
from pathlib import Path
from diffes.checkpoint import Checkpoint
from search.distributed import LocalWorkers
from search.job import run_search
from search.options import SearchOptions
options = SearchOptions.model_validate_json(sys.argv[1])
run_search(Checkpoint.open(Path(sys.argv[2])), options, Path(sys.argv[3]), distribution=LocalWorkers(2))
"""


@pytest.fixture(scope="module")
def serial(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "serial"
    search(tiny_checkpoint, _OPTIONS, out)
    return out


def kill_workers(monkeypatch: pytest.MonkeyPatch, at: set[int]) -> list[Task]:
    """From now on kill -9 the worker that is asked for the given tasks, counted from the first on."""
    asked: list[Task] = []
    ask = ProcessCrew.ask

    def killing(crew: ProcessCrew, worker: int, task: Task) -> None:
        if len(asked) in at:
            pid = crew.pids[worker]
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        asked.append(task)
        ask(crew, worker, task)

    monkeypatch.setattr(ProcessCrew, "ask", killing)
    return asked


def require_end(out: Path, serial: Path) -> None:
    assert (out / "schedule.json").read_bytes() == (serial / "schedule.json").read_bytes()
    assert log_of(out) == log_of(serial)
    assert {path.name for path in out.iterdir()} == {path.name for path in serial.iterdir()}


def test_two_workers_find_what_one_process_does_though_one_is_killed(
    tiny_checkpoint: Checkpoint, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = kill_workers(monkeypatch, {20})
    _, said = search(tiny_checkpoint, _OPTIONS, tmp_path / "out", distribution=LocalWorkers(2))
    assert len(asked) > 20
    assert "workers: 2 on the CPU (--threads 1 each)" in said
    require_end(tmp_path / "out", serial)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_search_killed_with_its_workers_at_work_resumes_to_the_same_end(
    tiny_checkpoint: Checkpoint, tiny_model_folder: Path, serial: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", _CHILD, _OPTIONS.model_dump_json(), str(tiny_model_folder), str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            while child.poll() is None and generations_on_disk(out) < 3:
                time.sleep(0.002)
            workers = [p for p in psutil.Process(child.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "the search was over before it could be killed"
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive), "a worker outlived its search"
    assert (out / ".workers").exists()

    search(tiny_checkpoint, _OPTIONS, out, resume=True, distribution=LocalWorkers(1))  # their number may change
    require_end(out, serial)


def test_a_worker_that_is_killed_whenever_it_starts_ends_the_search_with_the_signal(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ProcessCrew.start

    def killing(crew: ProcessCrew, worker: int) -> None:
        start(crew, worker)
        pid = crew.pids[worker]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(ProcessCrew, "start", killing)
    with pytest.raises(SearchError, match="worker 0 cannot start.*3 workers lost, the last one killed by SIGKILL"):
        search(tiny_checkpoint, _OPTIONS, tmp_path / "out", distribution=LocalWorkers(1))
    assert not (tmp_path / "out/.workers").exists()
