"""What figures were taken on, and what that machine can do at best."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from diffes.devices import hardware_name
from diffes.manifest import DTYPES

_SIDE = {"cuda": 8192, "cpu": 2048}  # of the square matrices whose product is the peak
_BYTES = {"cuda": 1 << 30, "cpu": 1 << 27}  # copied to see the bandwidth
_REPEATS = 10


@dataclass(frozen=True)
class Machine:
    """Hardware and versions; measured peaks of one large product (TFLOP/s) and of a copy (TB/s, read and written)."""

    device: str
    platform: str
    versions: dict[str, str]
    threads: int
    peak_tflops: float
    peak_bandwidth: float

    @classmethod
    def of(cls, device: torch.device, dtype: str) -> "Machine":
        """This machine; takes a second or two."""
        return cls(
            device=hardware_name(str(device)),
            platform=platform.platform(),
            versions=versions(),
            threads=torch.get_num_threads(),
            peak_tflops=_product(device, DTYPES[dtype]),
            peak_bandwidth=_copy(device),
        )


def versions() -> dict[str, str]:
    """Of everything that figures depend on."""
    found = {name: version(name) for name in ("diffusers", "torch", "triton", "onnxruntime-gpu") if _installed(name)}
    return {"python": platform.python_version(), **found, "cuda": torch.version.cuda or "none"}


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _product(device: torch.device, dtype: torch.dtype) -> float:
    side = _SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _seconds(device, lambda: left @ right) / 1e12


def _copy(device: torch.device) -> float:
    source = torch.zeros(_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / _seconds(device, lambda: target.copy_(source)) / 1e12


def _seconds(device: torch.device, run: Callable[[], object]) -> float:
    """The fastest of a few."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
