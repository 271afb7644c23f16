import torch

from diffes.backends.device_blob import DeviceBlob
from diffes.bundle import Bundle


def test_every_tensor_is_a_view_of_one_buffer_with_the_files_values(tiny_bundle: Bundle) -> None:
    blob = DeviceBlob(tiny_bundle.blob, torch.device("cpu"))
    assert set(blob) == set(tiny_bundle.blob)
    assert len(blob.buffer) <= tiny_bundle.manifest.blob.bytes
    inside = range(blob.buffer.data_ptr(), blob.buffer.data_ptr() + len(blob.buffer))
    for name, tensor in blob.items():
        assert tensor.data_ptr() in inside
        assert torch.equal(tensor, tiny_bundle.blob[name])
