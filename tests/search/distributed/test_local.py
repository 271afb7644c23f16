from pathlib import Path

import pytest
import torch

from diffes.errors import InvalidInput, SearchError
from search.distributed import local
from search.distributed.local import LocalWorkers, devices_of, scratch_folder
from tests.search.conftest import small_options


def test_threads_become_an_option_since_results_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    assert LocalWorkers(2).fitted(small_options(threads=None)).threads == 4
    assert LocalWorkers(16).fitted(small_options(threads=None)).threads == 1
    assert LocalWorkers(2).fitted(small_options(threads=3)).threads == 3


def test_workers_change_no_option_where_threads_are_given() -> None:
    options = small_options(threads=2)
    assert LocalWorkers(2).fitted(options) == options


def test_the_first_gpus_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices_of("cuda", 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of("cuda:2", 1) == ["cuda:2"]
    assert devices_of("cpu", 2) == ["cpu", "cpu"]


def test_missing_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SearchError, match=r"expected 4 CUDA devices, found 2\. Take --workers 2"):
        LocalWorkers(4).fitted(small_options(device="cuda"))


def test_a_gpu_that_is_named_is_shared() -> None:
    """A small model's steps are as long as it takes to launch them: one process leaves most of a GPU idle."""
    assert devices_of("cuda:1", 3) == ["cuda:1"] * 3


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(InvalidInput, match="workers"):
        LocalWorkers(0)


def test_the_scratch_folder_begins_empty_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "search/.workers"
    folder.mkdir(parents=True)
    (folder / "of-a-killed-search").write_text("stale")
    with scratch_folder(folder):
        assert list(folder.iterdir()) == []
        (folder / "teacher").write_text("x")
    assert not folder.exists()
