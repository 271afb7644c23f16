import pytest
import torch

from diffes.devices import device_named, require_memory
from diffes.errors import BackendError


def test_a_device_that_is_there_is_found() -> None:
    assert device_named("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_a_device_that_is_not_is_refused_by_name(name: str) -> None:
    with pytest.raises(BackendError, match=f"expected cpu, or a CUDA device that torch sees, found {name}"):
        device_named(name)


def test_too_little_memory_is_told_in_bytes_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    require_memory(torch.device("cuda:0"), 1000)
    with pytest.raises(BackendError, match="cuda:0 has too little.*expected 1,001 bytes, found 1,000 of 2,000"):
        require_memory(torch.device("cuda:0"), 1001)


def test_a_cpus_memory_is_not_asked_for() -> None:
    require_memory(torch.device("cpu"), 1 << 60)
