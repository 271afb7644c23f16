"""Files of metrics: of workers that are gone, and on a disk without room."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from diffes.errors import NotReady
from diffes.serving import metric_files
from diffes.serving.metric_files import FOLDER, claim_room, require_room

_KILLED_AND_RESPAWNED = """
import os, signal, sys
from prometheus_client import CollectorRegistry, multiprocess
from diffes.serving.metrics import Metrics
from diffes.serving.metric_files import forget_dead_processes

def load():
    Metrics(CollectorRegistry()).load(waiting=3, running=0)

def depth():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry.get_sample_value("diffes_queue_depth")

if os.fork() == 0:
    load()
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
load()
before = depth()
forget_dead_processes()
sys.stdout.write(f"{before} {depth()}")
"""


def test_gauges_of_a_killed_worker_leave_the_sum(tmp_path: Path) -> None:
    """Multiprocess mode is chosen at prometheus_client's import, hence a process of its own."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", _KILLED_AND_RESPAWNED], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "6.0 3.0"


def test_all_of_this_process_files_is_on_the_disk_once_it_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    files = [tmp_path / f"counter_{os.getpid()}.db", tmp_path / "counter_1.db"]
    for file in files:
        with file.open("wb") as sparse:
            sparse.truncate(1 << 20)
    assert [file.stat().st_blocks for file in files] == [0, 0]

    claim_room()

    assert files[0].stat().st_blocks * 512 >= 1 << 20
    assert files[0].stat().st_size == 1 << 20
    assert files[1].stat().st_blocks == 0


def test_a_worker_that_finds_no_room_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    require_room()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(metric_files, "_NEEDED", 2 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # a file cannot become larger: EFBIG
    try:
        with pytest.raises(NotReady, match=f"expected 2 MiB of room in {tmp_path}, found {os.strerror(errno.EFBIG)}"):
            require_room()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_without_files_of_several_processes_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    require_room()
    claim_room()
