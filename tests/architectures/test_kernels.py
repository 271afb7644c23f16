"""Needs Triton: its interpreter on a CPU, or with TRITON_INTERPRET=0 a GPU."""

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.architectures import kernels

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"


def some(rows: int, *, width: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """x [rows, 5, width], and conditions [rows, 1, width] cut from all blocks', whose rows lie apart."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 5, width, generator=generator) * 3 + 1
    modulation = torch.randn(rows, 2, 6, width, generator=generator)
    return x.to(DEVICE, dtype), modulation.to(DEVICE, dtype)


def conditions(modulation: Tensor) -> list[Tensor]:
    return list(modulation[:, 1].split(1, 1))


def plain_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-5) * scale + shift


@pytest.mark.parametrize("width", [24, 64, 1152])
def test_a_modulated_norm_is_torchs(width: int) -> None:
    x, modulation = some(3, width=width)
    shift, scale = conditions(modulation)[:2]
    torch.testing.assert_close(kernels.modulated_norm(x, scale, shift, 1e-5), plain_norm(x, scale, shift))


def test_a_gated_sum_is_torchs_for_a_branch_and_for_what_a_skipped_half_leaves() -> None:
    x, modulation = some(3)
    gate = conditions(modulation)[2]
    for branch in (x * 2, x[0, 0]):
        torch.testing.assert_close(kernels.gated_sum(x, gate, branch), x + gate * branch)


def test_what_lies_apart_in_memory_is_read_right() -> None:
    x, modulation = some(3)
    x = x.transpose(0, 1).contiguous().transpose(0, 1)
    scale, shift = (tensor.expand(3, 1, 24) for tensor in conditions(modulation)[0][:1].repeat(2, 1, 1).split(1))
    apart = scale.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(kernels.modulated_norm(x, apart, shift, 1e-5), plain_norm(x, scale, shift))
    torch.testing.assert_close(kernels.gated_sum(x, apart, x), x + scale * x)


def test_sums_are_in_float32_and_rounded_once() -> None:
    x, modulation = some(3, dtype=torch.float16)
    shift, scale, gate = conditions(modulation)[:3]
    normed = plain_norm(x.float(), scale.float(), shift.float())
    added = x.float() + gate.float() * x.float()
    for rounded, exact in (
        (kernels.modulated_norm(x, scale, shift, 1e-5), normed),
        (kernels.gated_sum(x, gate, x), added),
    ):
        assert rounded.dtype == torch.float16
        torch.testing.assert_close(rounded.float(), exact, rtol=1.01 * 2**-11, atol=1e-6)


def test_a_row_is_the_same_alone_and_in_any_batch() -> None:
    x, modulation = some(7)
    shift, scale, gate = conditions(modulation)[:3]
    together = kernels.gated_sum(x, gate, kernels.modulated_norm(x, scale, shift, 1e-5))
    for row in (slice(0, 1), slice(3, 5)):
        alone = kernels.gated_sum(x[row], gate[row], kernels.modulated_norm(x[row], scale[row], shift[row], 1e-5))
        assert torch.equal(alone, together[row])


def test_no_rows_are_no_work() -> None:
    x, modulation = some(0)
    shift, scale, gate = conditions(modulation)[:3]
    assert kernels.modulated_norm(x, scale, shift, 1e-5).shape == x.shape
    assert kernels.gated_sum(x, gate, x).shape == x.shape
