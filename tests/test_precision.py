from collections.abc import Iterator
from typing import Any

import pytest
import torch

from diffes.precision import arithmetic_of, dtype_of, full_float32, rounding, rounds_to_tf32, tf32

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


def test_rollouts_calculate_in_tf32_on_a_gpu_alone() -> None:
    assert arithmetic_of("cuda:1") == "tf32"
    assert arithmetic_of("cpu") == "float32"


def test_arithmetic_says_the_numbers_type_and_how_products_round() -> None:
    assert [dtype_of(name) for name in ("float32", "tf32", "bfloat16")] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]
    with rounding("tf32"):
        assert settings()[:2] == ["tf32", "tf32"]
    with rounding("float32"):
        assert settings() == ["ieee"] * 4


def test_only_float32_on_a_gpu_rounds_to_tf32() -> None:
    with tf32():
        assert not rounds_to_tf32(torch.zeros(1))
        assert not rounds_to_tf32(torch.zeros(1, dtype=torch.bfloat16))
