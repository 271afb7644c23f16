"""What the last bits of a rollout depend on: workers must agree with the search in it, or its results would differ."""

import os
import platform
from pathlib import Path

import torch

from diffes.errors import SearchError
from search.memo import code_version


def available_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def arithmetic(device: str) -> str:
    """Code, library and kind of device; on a CPU also its threads, among which torch divides every sum."""
    code = f"code {code_version()[:16]}, torch {torch.__version__}"
    if torch.device(device).type == "cuda":
        return f"{code}, {torch.cuda.get_device_name(device)}"
    processor = f"{_processor()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{code}, {processor}, {torch.get_num_threads()} threads"


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


def _processor() -> str:
    """The processor's model name; Linux tells it only in a file."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
