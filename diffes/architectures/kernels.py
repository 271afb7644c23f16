"""Triton kernels: what stands between the matmuls of a step, each in one pass over memory.

A program takes one row and works on it the same way whatever else is in the batch: results depend neither on how many
rows there are nor on which call came first, as those of a kernel chosen by timing may. Everything is calculated in
float32 and rounded once, to the type of x.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROW_OF_A_WARP = 512  # values; a wider row is shared by more warps


@triton.jit
def _modulated_norm_row(x, scale, shift, out, tokens, width, scale_stride, shift_stride, eps, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / width
    centred = tl.where(inside, value - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / width
    factor = tl.load(scale + sample * scale_stride + at, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(shift + sample * shift_stride + at, mask=inside, other=0.0).to(tl.float32)
    result = centred / tl.sqrt(variance + eps) * factor + offset
    tl.store(out + row * width + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gated_sum_row(x, gate, branch, out, tokens, width, gate_stride, branch_stride, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(gate + sample * gate_stride + at, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(branch + row * branch_stride + at, mask=inside, other=0.0).to(tl.float32)
    result = value + factor * added
    tl.store(out + row * width + at, result.to(out.dtype.element_ty), mask=inside)


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Layer norm of x [B, tokens, D], times scale, plus shift, both [B, 1, D] → like x."""
    x = x.contiguous()
    out = torch.empty_like(x)
    modulation = (_rows(scale), _rows(shift))
    strides = tuple(tensor.stride(0) for tensor in modulation)
    _launch(_modulated_norm_row, x, *modulation, out, x.shape[1], x.shape[2], *strides, eps)
    return out


def gated_sum(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate * branch: x [B, tokens, D], gate [B, 1, D], branch like x or [D] → like x."""
    x, branch, gate = x.contiguous(), branch.contiguous(), _rows(gate)
    out = torch.empty_like(x)
    branch_stride = x.shape[2] if branch.dim() == x.dim() else 0
    _launch(_gated_sum_row, x, gate, branch, out, x.shape[1], x.shape[2], gate.stride(0), branch_stride)
    return out


def _rows(modulation: Tensor) -> Tensor:
    """[B, 1, D], a slice of the conditions, with D values side by side."""
    return modulation if modulation.stride(-1) == 1 else modulation.contiguous()


def _launch(kernel: Any, x: Tensor, *arguments: Any) -> None:
    """One program for every row of x [B, tokens, D], on x's device."""
    if not x.numel():
        return
    block = triton.next_power_of_2(x.shape[2])
    warps = max(1, min(8, block // _ROW_OF_A_WARP))
    with torch.cuda.device(x.device if x.is_cuda else -1):
        kernel[(x.shape[0] * x.shape[1],)](x, *arguments, BLOCK=block, num_warps=warps)
