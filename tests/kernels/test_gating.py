import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import plain
from diffes.kernels.gating import gated_gelu
from tests.kernels.some import DEVICE, normal


@pytest.mark.parametrize("shape", [(1, 1), (5, 24), (7, 640)])
def test_one_product_is_multiplied_by_gelu_of_the_other(shape: tuple[int, int]) -> None:
    hidden, gate = normal(*shape), normal(*shape, seed=1) * 3
    torch.testing.assert_close(gated_gelu(hidden, gate), hidden * F.gelu(gate))


def test_it_is_calculated_in_float32_and_rounded_once() -> None:
    hidden, gate = (normal(9, 24, seed=seed, dtype=torch.float16) for seed in (2, 3))
    exact = hidden.double() * F.gelu(gate.double())
    torch.testing.assert_close(gated_gelu(hidden, gate).double(), exact, rtol=1.01 * 2**-11, atol=1e-6)


def test_what_lies_apart_in_memory_is_read_right() -> None:
    both = normal(5, 48)
    hidden, gate = both.chunk(2, 1)
    torch.testing.assert_close(gated_gelu(hidden, gate), hidden * F.gelu(gate))
    assert gated_gelu(hidden[:0], gate[:0]).shape == (0, 24)


def test_with_its_products_it_is_geglu() -> None:
    x, first, second = normal(5, 8), normal(24, 8, seed=1), normal(24, 8, seed=2)
    bias = torch.zeros(24, device=DEVICE)
    expected = plain.gated_gelu_linear(x, (first, bias), (second, bias))
    torch.testing.assert_close(gated_gelu(x @ first.T, x @ second.T), expected)
