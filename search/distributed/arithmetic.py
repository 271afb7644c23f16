"""What the last bits of a rollout depend on: workers must agree with the search in it, or its results would differ."""

import os

import torch

from diffes.devices import hardware_name
from diffes.errors import SearchError
from search.memo import code_version


def available_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def arithmetic(device: str) -> str:
    """Code, library and kind of device; on a CPU also its threads, among which torch divides every sum."""
    code = f"code {code_version()[:16]}, torch {torch.__version__}"
    hardware = f"{code}, {hardware_name(device)}"
    if torch.device(device).type == "cuda":
        return hardware
    return f"{hardware} with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def require_equal(worker: str, ours: str) -> None:
    """SearchError unless a worker computes as this process does."""
    if worker != ours:
        raise SearchError(
            "a worker would round otherwise than the search",
            expected=ours,
            found=worker,
            remedy="Give it the same code and libraries and the same kind of device, or leave it out: on one machine"
            " by CUDA_VISIBLE_DEVICES.",
        )
