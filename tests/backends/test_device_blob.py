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


def test_weights_of_convolutions_lie_channels_last_where_they_are_asked_to(tiny_sdxl_bundle: Bundle) -> None:
    stored = tiny_sdxl_bundle.blob
    blob = DeviceBlob(stored, torch.device("cpu"), turned=True)
    convolutions = [name for name, tensor in stored.items() if tensor.dim() == 4]

    assert "conv_in.weight" in convolutions
    assert all(torch.equal(tensor, stored[name]) for name, tensor in blob.items())
    assert all(blob[name].is_contiguous(memory_format=torch.channels_last) for name in convolutions)
    inside = range(blob.buffer.data_ptr(), blob.buffer.data_ptr() + len(blob.buffer))
    assert all(blob[name].data_ptr() in inside for name in convolutions)
