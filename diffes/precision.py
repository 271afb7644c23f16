"""How float32 matmuls and convolutions round: in full, or to TF32 where the hardware is faster so.

torch knows an older and a newer way to say this and refuses to go on where both were used. Diffes says it here alone,
the newer way.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

Arithmetic = Literal["float32", "tf32", "bfloat16"]


def arithmetic_of(device: str) -> Arithmetic:
    """What rollouts calculate in unless told otherwise, on a device as torch names it: TF32 on a GPU, else float32.

    bfloat16 is no default: on the bundled model it moves the dense samples by an MSE of 2.3e-4, half of what the best
    schedules without a quarter of the MACs do. TF32 keeps three bits more, 64 times less in squares.
    """
    return "tf32" if device.startswith("cuda") else "float32"


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


def rounds_to_tf32(tensor: Tensor) -> bool:
    """Whether products of this tensor round to TF32 now: one in float32, on a GPU, where that is allowed."""
    if tensor.dtype != torch.float32 or not tensor.is_cuda:
        return False
    return bool(_gpu()[0].fp32_precision == "tf32")


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
