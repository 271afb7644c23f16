"""How float32 matmuls and convolutions round: in full, or to TF32 where the hardware is faster so.

torch knows an older and a newer way to say this and refuses to go on where both were used. Diffes says it here alone,
the newer way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, no float32 product is rounded: no TF32 on a GPU, no bfloat16 on a CPU."""
    with _precision("ieee", (*_gpu(), *_cpu())):
        yield


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
