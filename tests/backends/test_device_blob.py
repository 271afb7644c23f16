import pytest
import torch

from diffes.backends.device_blob import DeviceBlob, require_memory
from diffes.bundle import Bundle
from diffes.errors import BackendError


def test_every_tensor_is_a_view_of_one_buffer_with_the_files_values(tiny_bundle: Bundle) -> None:
    blob = DeviceBlob(tiny_bundle.blob, torch.device("cpu"))
    assert set(blob) == set(tiny_bundle.blob)
    assert len(blob.buffer) <= tiny_bundle.manifest.blob.bytes
    inside = range(blob.buffer.data_ptr(), blob.buffer.data_ptr() + len(blob.buffer))
    for name, tensor in blob.items():
        assert tensor.data_ptr() in inside
        assert torch.equal(tensor, tiny_bundle.blob[name])


def test_too_little_memory_is_told_in_bytes_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    require_memory(torch.device("cuda:0"), 1000)
    with pytest.raises(BackendError, match="cuda:0 has too little.*expected 1,001 bytes, found 1,000 of 2,000"):
        require_memory(torch.device("cuda:0"), 1001)


def test_a_cpus_memory_is_not_asked_for() -> None:
    require_memory(torch.device("cpu"), 1 << 60)
