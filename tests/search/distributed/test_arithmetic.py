import pytest
import torch

from diffes.errors import SearchError
from search.distributed.arithmetic import arithmetic, available_cores, require_equal


def test_it_changes_with_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = arithmetic("cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert arithmetic("cpu") != before
    assert "77 threads" in arithmetic("cpu")


def test_it_names_a_gpu_by_its_kind_and_not_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "A GPU")
    assert arithmetic("cuda:0") == arithmetic("cuda:3")
    assert "A GPU" in arithmetic("cuda")


def test_other_arithmetic_is_refused_with_both_sides() -> None:
    require_equal("alike", "alike")
    with pytest.raises(SearchError, match="expected ours, found theirs"):
        require_equal("theirs", "ours")


def test_there_is_at_least_one_core() -> None:
    assert available_cores() >= 1
