"""The blob in a device's memory: one buffer, copied once, of which every tensor is a view."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from diffes.blob import ALIGNMENT, Blob
from diffes.devices import require_memory

_CHUNK = 256 << 20  # bytes copied at once: what the copy needs of pinned or paged memory stays small


class DeviceBlob(Mapping[str, Tensor]):
    """Tensors of a blob on `device`; all lie in `buffer`, bytes as in the file, without its header.

    With `turned` a convolution's weights, which are those of four axes, lie there channels last, as a GPU's libraries
    read them: they would turn them anew in every call.
    """

    def __init__(self, blob: Blob, device: torch.device, *, turned: bool = False) -> None:
        """BackendError, before anything is copied, if the device has too little free memory."""
        self._entries = blob.entries
        self._turned = False
        start = min(entry.offset for entry in blob.entries.values())
        data = blob.bytes[start:]
        require_memory(device, len(data))
        self._start = start
        whole = torch.empty(len(data) + ALIGNMENT, dtype=torch.uint8, device=device)
        first = -whole.data_ptr() % ALIGNMENT  # 0 on a GPU; a CPU's allocations are aligned to less
        self.buffer = whole[first : first + len(data)]
        for at in range(0, len(data), _CHUNK):
            self.buffer[at : at + _CHUNK].copy_(data[at : at + _CHUNK])
        if turned:
            self._turn()

    @property
    def base(self) -> int:
        """The address at which the file's first byte would lie: a tensor's is this plus its offset in the file."""
        return self.buffer.data_ptr() - self._start

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        flat = self.buffer[entry.offset - self._start :][: entry.length].view(entry.dtype)
        if self._turned and len(entry.shape) == 4:
            outputs, inputs, *kernel = entry.shape
            return flat.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)
        return flat.view(entry.shape)

    def _turn(self) -> None:
        """Rewrite the weights of convolutions where they lie."""
        straight = {name: self[name] for name, entry in self._entries.items() if len(entry.shape) == 4}
        self._turned = True
        for name, weight in straight.items():
            self[name].copy_(weight.clone())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
