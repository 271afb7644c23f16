"""Triton kernels for what stands between the products of a step, each in one pass over memory.

A program takes one row and works on it the same way whatever else is in the batch: results depend neither on how many
rows there are nor on which call came first, as those of a kernel chosen by timing may. Everything is calculated in
float32 and rounded once, to the type of x.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from diffes.kernels.plain import Norm

_ROW_OF_A_WARP = 512  # values; a wider row is shared by more warps


@triton.jit
def _normed(value, inside, width, scale, shift, at, eps):  # type: ignore[no-untyped-def]
    mean = tl.sum(value, axis=0) / width
    centred = tl.where(inside, value - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / width
    factor = tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    return centred / tl.sqrt(variance + eps) * factor + offset


@triton.jit
def _modulated_norm_row(x, scale, shift, out, tokens, width, scale_stride, shift_stride, eps, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    result = _normed(value, inside, width, scale + sample * scale_stride, shift + sample * shift_stride, at, eps)
    tl.store(out + row * width + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gated_norm_row(  # type: ignore[no-untyped-def]
    x,
    gate,
    offset,
    parts,
    scale,
    shift,
    out,
    normed,
    tokens,
    width,
    gate_stride,
    offset_stride,
    part_stride,
    scale_stride,
    shift_stride,
    eps,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    at = tl.arange(0, BLOCK)
    inside = at < width
    branch = tl.load(offset + row * offset_stride + at, mask=inside, other=0.0).to(tl.float32)
    for part in tl.static_range(PARTS):
        branch += tl.load(parts + part * part_stride + row * width + at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(gate + sample * gate_stride + at, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32) + factor * branch
    tl.store(out + row * width + at, value.to(out.dtype.element_ty), mask=inside)
    result = _normed(value, inside, width, scale + sample * scale_stride, shift + sample * shift_stride, at, eps)
    tl.store(normed + row * width + at, result.to(normed.dtype.element_ty), mask=inside)


def modulated_norm(x: Tensor, norm: Norm) -> Tensor:
    """plain.modulated_norm in one kernel."""
    x = x.contiguous()
    out = torch.empty_like(x)
    scale, shift = _rows(norm.scale), _rows(norm.shift)
    _launch(_modulated_norm_row, x, (x, scale, shift, out, *x.shape[1:], scale.stride(0), shift.stride(0), norm.eps))
    return out


def gated_norm(x: Tensor, gate: Tensor, offset: Tensor, parts: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
    """plain.gated_norm in one kernel, of a branch whose product comes as `parts` [S, B*tokens, D] still to be added up.

    `offset` is the branch's, [D] or [B*tokens, D]; no parts are a skipped half's.
    """
    x, offset = x.contiguous(), offset.contiguous()
    gate, scale, shift = _rows(gate), _rows(norm.scale), _rows(norm.shift)
    out, normed = torch.empty_like(x), torch.empty_like(x)
    offset_stride = x.shape[2] if offset.dim() > 1 else 0
    some = x if parts is None else parts.contiguous()
    strides = gate.stride(0), offset_stride, some.stride(0), scale.stride(0), shift.stride(0)
    arguments = (x, gate, offset, some, scale, shift, out, normed, *x.shape[1:], *strides, norm.eps)
    _launch(_gated_norm_row, x, arguments, PARTS=0 if parts is None else len(parts))
    return out, normed


def _rows(modulation: Tensor) -> Tensor:
    """[B, 1, D], a slice of the conditions, with D values side by side."""
    return modulation if modulation.stride(-1) == 1 else modulation.contiguous()


def _launch(kernel: Any, x: Tensor, arguments: tuple[Any, ...], **constants: int) -> None:
    """One program for every row of x [B, tokens, D], on x's device."""
    if not x.numel():
        return
    block = triton.next_power_of_2(x.shape[2])
    warps = max(1, min(8, block // _ROW_OF_A_WARP))
    with torch.cuda.device(x.device if x.is_cuda else -1):
        kernel[(x.shape[0] * x.shape[1],)](*arguments, **constants, BLOCK=block, num_warps=warps)
