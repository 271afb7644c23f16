"""Devices by the names torch gives them."""

import platform
from pathlib import Path

import torch

from diffes.errors import BackendError


def device_named(name: str) -> torch.device:
    """The device; BackendError if this machine's torch has none of that name."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device it lacks
        raise BackendError(
            "torch has no such device", expected="cpu, or a CUDA device that torch sees", found=f"{name} ({error})"
        ) from error
    return device


def require_memory(device: torch.device, needed: int) -> None:
    """BackendError unless a GPU has `needed` bytes free for weights; a CPU's pages are the system's care."""
    if device.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(device)
    if free < needed:
        raise BackendError(
            f"{device} has too little free memory for the weights",
            expected=f"{needed:,} bytes",
            found=f"{free:,} of {total:,}",
            remedy="Free the device, take a larger one, or export in 16 bits.",
        )


def hardware_name(device: str) -> str:
    """The hardware's name: the GPU's, or the processor's."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return _processor() or platform.processor() or platform.machine()


def _processor() -> str:
    """Linux's name of the processor; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
