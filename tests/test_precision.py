from collections.abc import Iterator
from typing import Any

import pytest
import torch

from diffes.precision import full_float32, tf32

GPU: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
CPU: list[Any] = [torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv]  # type: ignore[attr-defined]


def settings() -> list[str]:
    return [place.fp32_precision for place in (*GPU, *CPU)]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = settings()
    yield
    for place, precision in zip((*GPU, *CPU), before, strict=True):
        place.fp32_precision = precision


def test_full_float32_rounds_nowhere_and_restores_what_was_set() -> None:
    GPU[0].fp32_precision, CPU[0].fp32_precision = "tf32", "bf16"
    before = settings()

    with full_float32():
        assert settings() == ["ieee"] * 4

    assert settings() == before


def test_tf32_is_for_the_gpu_alone() -> None:
    before = settings()

    with tf32():
        assert settings() == ["tf32", "tf32", *before[2:]]

    assert settings() == before


def test_full_float32_holds_inside_tf32() -> None:
    with tf32():
        with full_float32():
            assert settings() == ["ieee"] * 4
        assert settings()[:2] == ["tf32", "tf32"]


def test_a_failure_inside_restores_too() -> None:
    before = settings()

    with pytest.raises(KeyError), tf32():
        raise KeyError

    assert settings() == before
