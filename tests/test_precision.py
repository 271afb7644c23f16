from collections.abc import Iterator
from typing import Any

import pytest
import torch

from diffes.precision import dtype_of, fastest_arithmetic, full_float32, rounding, tf32

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


@pytest.mark.parametrize(
    ("capabilities", "fastest"),
    [({"avx2": True, "avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")],
)
def test_a_cpu_calculates_in_bfloat16_only_where_it_multiplies_it_itself(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], fastest: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest_arithmetic("cpu") == fastest


def test_a_gpu_calculates_in_tf32() -> None:
    assert fastest_arithmetic("cuda:1") == "tf32"


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
