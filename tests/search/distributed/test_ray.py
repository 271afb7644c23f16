"""Searches of the tiny model on Ray, and what is asked of a cluster."""

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from search.distributed import RayWorkers
from search.distributed.messages import Task
from search.distributed.ray import RayCrew, places
from tests.search.conftest import small_options
from tests.search.searching import log_of, search

_TWO_NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 3.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine, with two cores."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'diffes[ray]')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


def test_two_actors_find_what_one_process_does_though_one_is_killed(
    cluster: Any, tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Task] = []
    ask = RayCrew.ask

    def killing(crew: RayCrew, worker: int, task: Task) -> None:
        asked.append(task)
        if len(asked) == 15:
            cluster.kill(crew._actors[worker])
        ask(crew, worker, task)

    monkeypatch.setattr(RayCrew, "ask", killing)
    search(tiny_checkpoint, small_options(), tmp_path / "serial")
    _, said = search(tiny_checkpoint, small_options(), tmp_path / "ray", distribution=RayWorkers("auto"))
    assert len(asked) > 15
    assert "workers: on Ray (auto), --threads 1 each" in said
    assert (tmp_path / "ray/schedule.json").read_bytes() == (tmp_path / "serial/schedule.json").read_bytes()
    assert log_of(tmp_path / "ray") == log_of(tmp_path / "serial")


def test_every_device_of_a_living_node_gets_an_actor() -> None:
    assert places(_TWO_NODES, {"CPU": 1, "GPU": 1}, None) == 2
    assert places(_TWO_NODES, {"CPU": 2}, None) == 5
    assert places(_TWO_NODES, {"CPU": 2}, 3) == 3


def test_a_cluster_that_is_too_small_is_refused() -> None:
    with pytest.raises(SearchError, match="expected 3 times 1 CPU and 1 GPU, found 2"):
        places(_TWO_NODES, {"CPU": 1, "GPU": 1}, 3)
    with pytest.raises(SearchError, match="expected 1 times 16 CPU, found 0"):
        places(_TWO_NODES, {"CPU": 16}, None)


def test_without_ray_the_line_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def absent(name: str, *given: Any, **named: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'")
        return importing(name, *given, **named)

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SearchError, match=r"Ray is not installed.*pip install 'diffes\[ray\]'"):
        RayWorkers("auto").fitted(small_options())


def test_an_actor_has_one_thread_unless_told_otherwise() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'diffes[ray]')")
    assert RayWorkers("auto").fitted(small_options(threads=None)).threads == 1
    assert RayWorkers("auto").fitted(small_options(threads=2)).threads == 2
    with pytest.raises(SearchError, match=r"expected cpu or cuda, found cuda:1"):
        RayWorkers("auto").fitted(small_options(device="cuda:1"))
