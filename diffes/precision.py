"""How float32 matmuls and convolutions round: in full, or to TF32 where the hardware is faster so.

torch knows an older and a newer way to say this and refuses to go on where both were used. Diffes says it here alone,
the newer way.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch

Arithmetic = Literal["float32", "tf32", "bfloat16"]
_NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "sve_bf16", "neon_bf16", "bf16")  # torch's names of CPU capabilities


def fastest_arithmetic(device: str) -> Arithmetic:
    """The fastest of those that rank schedules as float32 does, on a device as torch names it.

    On a GPU TF32: bfloat16 is faster still, but its own rounding is of the size of the errors of light pruning. On a
    CPU bfloat16, twice as fast, unless the processor only emulates it: there it was 78 times slower than float32.
    """
    if device.startswith("cuda"):
        return "tf32"
    found = torch.cpu.get_capabilities() if device == "cpu" else {}
    return "bfloat16" if any(found.get(name) for name in _NATIVE_BFLOAT16) else "float32"


def dtype_of(arithmetic: Arithmetic) -> torch.dtype:
    """The type of the numbers: TF32 is a way to multiply float32."""
    return torch.bfloat16 if arithmetic == "bfloat16" else torch.float32


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, no float32 product is rounded: no TF32 on a GPU, no bfloat16 on a CPU."""
    with _precision("ieee", (*_gpu(), *_cpu())):
        yield


def rounding(arithmetic: Arithmetic) -> AbstractContextManager[None]:
    """How float32 products round inside: to TF32 where that is asked for, else in full."""
    return tf32() if arithmetic == "tf32" else full_float32()


@contextmanager
def tf32() -> Iterator[None]:
    """Inside, a GPU may round the inputs of float32 products to TF32 (10 bits); a CPU is left alone."""
    with _precision("tf32", _gpu()):
        yield


def _gpu() -> tuple[Any, ...]:
    return torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]


def _cpu() -> tuple[Any, ...]:
    return torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv  # type: ignore[attr-defined]


@contextmanager
def _precision(wanted: str, places: tuple[Any, ...]) -> Iterator[None]:
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = wanted
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision
