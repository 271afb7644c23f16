"""What is taken of the GPUs' memory, whoever takes it."""

from contextlib import suppress

import pynvml


def used_bytes() -> int | None:
    """Of all GPUs of this machine; None where there is none, or none that tells (one that shares the CPU's memory)."""
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            return sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles) if handles else None
        finally:
            pynvml.nvmlShutdown()
    return None
