"""The blob in a device's memory: one buffer, copied once, of which every tensor is a view."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from diffes.blob import ALIGNMENT, Blob
from diffes.devices import require_memory

_CHUNK = 256 << 20  # bytes copied at once: what the copy needs of pinned or paged memory stays small


class DeviceBlob(Mapping[str, Tensor]):
    """Tensors of a blob on `device`; all lie in `buffer`, bytes as in the file, without its header."""

    def __init__(self, blob: Blob, device: torch.device) -> None:
        """BackendError, before anything is copied, if the device has too little free memory."""
        self._entries = blob.entries
        start = min(entry.offset for entry in blob.entries.values())
        data = blob.bytes[start:]
        require_memory(device, len(data))
        self._start = start
        whole = torch.empty(len(data) + ALIGNMENT, dtype=torch.uint8, device=device)
        first = -whole.data_ptr() % ALIGNMENT  # 0 on a GPU; a CPU's allocations are aligned to less
        self.buffer = whole[first : first + len(data)]
        for at in range(0, len(data), _CHUNK):
            self.buffer[at : at + _CHUNK].copy_(data[at : at + _CHUNK])

    @property
    def base(self) -> int:
        """The address at which the file's first byte would lie: a tensor's is this plus its offset in the file."""
        return self.buffer.data_ptr() - self._start

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        at = entry.offset - self._start
        return self.buffer[at : at + entry.length].view(entry.dtype).view(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
