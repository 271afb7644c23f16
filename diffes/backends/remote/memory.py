"""Tensors that a Triton server of the same host reads and writes in place, instead of through gRPC.

The server may still be running a call that its client has given up. So the memory of a call that failed is never used
again, and only unregistered once a later call was answered: the model has one instance, which answers in order.
"""

import logging
import os
import sys
import weakref
from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tritonclient.utils import InferenceServerException

from diffes.errors import BackendError

logger = logging.getLogger(__name__)

_ALIGNMENT = 64  # bytes
_SMALLEST = 1 << 20  # bytes; regions double, so that a backend soon stops making new ones

Shape = tuple[int, ...]


class Region:
    """Memory with a random name that this process owns and the server has mapped."""

    def __init__(self, client: Any, size: int, timeout: float) -> None:
        """BackendError if this host has no room for it, InferenceServerException if the server cannot map it."""
        self._memory = SharedMemory(create=True, size=size)
        self.free = weakref.finalize(self, _free, self._memory)  # at the latest when the process ends
        self.name, self.size = self._memory.name, size
        _reserve(self._memory)
        try:
            client.register_system_shared_memory(self.name, f"/{self.name}", size, client_timeout=timeout)
        except InferenceServerException:
            self.free()
            raise

    def write(self, offset: int, tensor: Tensor) -> None:
        """Copy a CPU tensor there."""
        array = tensor.numpy()
        np.ndarray(array.shape, array.dtype, buffer=self._memory.buf, offset=offset)[...] = array

    def read(self, offset: int, shape: Shape) -> Tensor:
        """A copy of what the server wrote, float32."""
        view: np.ndarray[Any, np.dtype[np.float32]] = np.ndarray(
            shape, np.float32, buffer=self._memory.buf, offset=offset
        )
        return torch.from_numpy(view.copy())


class Exchange:
    """The region of the current call, and those of calls that failed."""

    def __init__(self, client: Any, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._region: Region | None = None
        self._abandoned: list[str] = []  # names that the server may still write under

    def region(self, size: int) -> Region:
        """A region of at least `size` bytes; InferenceServerException if the server cannot map it."""
        if self._region is None or self._region.size < size:
            self._drop()
            grown = max(_SMALLEST, 1 << (size - 1).bit_length())
            self._region = Region(self._client, grown, self._timeout)
        return self._region

    def abandon(self) -> None:
        """After a call that failed."""
        if self._region is not None:
            self._region.free()
            self._abandoned.append(self._region.name)
            self._region = None

    def answered(self) -> None:
        """After a call that was answered, and so after all before it."""
        self._abandoned = [name for name in self._abandoned if not self._unregister(name)]

    def is_known(self) -> bool:
        """Whether the server has the current region: a restarted one has not."""
        if self._region is None:
            return False
        try:
            status = self._client.get_system_shared_memory_status(client_timeout=self._timeout)
        except InferenceServerException:
            return False
        return self._region.name in status.regions

    def close(self) -> None:
        """Free everything that no call can be running on."""
        self._drop()

    def _drop(self) -> None:
        if self._region is not None:
            self._region.free()
            self._unregister(self._region.name)
            self._region = None

    def _unregister(self, name: str) -> bool:
        try:
            self._client.unregister_system_shared_memory(name, client_timeout=self._timeout)
        except InferenceServerException as error:  # still in use, or the server has gone and its mapping with it
            logger.debug("region %s stays registered: %s", name, error)
            return False
        return True


def layout(inputs: Mapping[str, Tensor], outputs: Mapping[str, Shape]) -> tuple[dict[str, int], dict[str, int], int]:
    """Offsets of inputs and of float32 outputs in one region, and its size in bytes."""
    end = 0

    def placed(size: int) -> int:
        nonlocal end
        start, end = end, end + -(-size // _ALIGNMENT) * _ALIGNMENT
        return start

    sources = {name: placed(tensor.nbytes) for name, tensor in inputs.items()}
    targets = {name: placed(bytes_of(shape)) for name, shape in outputs.items()}
    return sources, targets, end


def bytes_of(shape: Shape) -> int:
    """Of a float32 tensor."""
    return int(np.prod(shape)) * 4


def _reserve(memory: SharedMemory) -> None:
    """Take the pages now: where /dev/shm is small, writing to one that is not there would end the process."""
    if sys.platform != "linux":
        return
    try:
        with Path("/dev/shm", memory.name).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, memory.size)
    except OSError as error:
        raise BackendError(
            "no room for shared memory",
            expected=f"{memory.size} bytes in /dev/shm",
            found=error.strerror,
            remedy="Make it larger (a container's --shm-size), or append ?shared_memory=off to the address.",
        ) from error


def _free(memory: SharedMemory) -> None:
    memory.close()
    memory.unlink()
