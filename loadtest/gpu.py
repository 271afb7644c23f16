"""What is taken of the GPUs' memory, whoever takes it."""

import pynvml


def used_bytes() -> int | None:
    """Of all GPUs of this machine; None where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles) if handles else None
    finally:
        pynvml.nvmlShutdown()
