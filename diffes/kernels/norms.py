"""Triton kernels for what stands between the products of a step, each in one pass over memory.

A program takes one row, in few warps, so that sums wait for few. All that it reads it asks for before the first sum:
what is asked for after one waits for memory a second time (H200, 512 rows of 1,152: 3.95 microseconds, and 2.82). Lanes
calculate on powers of two: a row of 1,152 is cut into 1,024 and 128, where of one of 2,048 half would idle. A row is
worked on the same way whatever else is in the batch: results depend neither on how many rows there are nor on which
call came first, as those of a kernel chosen by timing may. Everything is calculated in float32 and rounded once, to the
type of x.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from diffes.kernels.plain import Norm

_ROW_OF_A_WARP = 512  # values; a wider row is shared by more warps


@triton.jit
def _load(row, at, width, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    if EXACT:
        return tl.load(row + at).to(tl.float32)
    return tl.load(row + at, mask=at < width, other=0.0).to(tl.float32)


@triton.jit
def _store(row, at, width, value, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    if EXACT:
        tl.store(row + at, value.to(row.dtype.element_ty))
    else:
        tl.store(row + at, value.to(row.dtype.element_ty), mask=at < width)


@triton.jit
def _store_normed(  # type: ignore[no-untyped-def]
    out, main, rest, scales, shifts, width, eps, MAIN: tl.constexpr, REST: tl.constexpr, EXACT: tl.constexpr
):
    at = tl.arange(0, MAIN)
    after = MAIN + tl.arange(0, REST)
    mean = (tl.sum(main, axis=0) + tl.sum(rest, axis=0)) / width
    main -= mean
    rest = tl.where(after < width, rest - mean, 0.0)
    variance = (tl.sum(main * main, axis=0) + tl.sum(rest * rest, axis=0)) / width
    deviation = tl.sqrt(variance + eps)
    _store(out, at, width, main / deviation * scales[0] + shifts[0], True)
    _store(out, after, width, rest / deviation * scales[1] + shifts[1], EXACT)


@triton.jit
def _both(row, width, MAIN: tl.constexpr, REST: tl.constexpr, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    return _load(row, tl.arange(0, MAIN), width, True), _load(row, MAIN + tl.arange(0, REST), width, EXACT)


@triton.jit
def _modulated_norm_row(  # type: ignore[no-untyped-def]
    x,
    scale,
    shift,
    out,
    tokens,
    width,
    scale_stride,
    shift_stride,
    eps,
    MAIN: tl.constexpr,
    REST: tl.constexpr,
    EXACT: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    main, rest = _both(x + row * width, width, MAIN, REST, EXACT)
    scales = _both(scale + sample * scale_stride, width, MAIN, REST, EXACT)
    shifts = _both(shift + sample * shift_stride, width, MAIN, REST, EXACT)
    _store_normed(out + row * width, main, rest, scales, shifts, width, eps, MAIN, REST, EXACT)


@triton.jit
def _gated(  # type: ignore[no-untyped-def]
    x, gate, offset, product, out, at, width, GATED: tl.constexpr, PRODUCT: tl.constexpr, EXACT: tl.constexpr
):
    branch = _load(offset, at, width, EXACT)
    if PRODUCT:
        branch += _load(product, at, width, EXACT)
    if GATED:
        branch *= _load(gate, at, width, EXACT)
    value = _load(x, at, width, EXACT) + branch
    _store(out, at, width, value, EXACT)
    return value


@triton.jit
def _gated_norm_row(  # type: ignore[no-untyped-def]
    x,
    gate,
    offset,
    product,
    scale,
    shift,
    out,
    normed,
    tokens,
    width,
    gate_stride,
    offset_stride,
    scale_stride,
    shift_stride,
    eps,
    GATED: tl.constexpr,
    PRODUCT: tl.constexpr,
    MAIN: tl.constexpr,
    REST: tl.constexpr,
    EXACT: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    sample = row // tokens
    x += row * width
    product += row * width
    out += row * width
    gate += sample * gate_stride
    offset += row * offset_stride
    scales = _both(scale + sample * scale_stride, width, MAIN, REST, EXACT)
    shifts = _both(shift + sample * shift_stride, width, MAIN, REST, EXACT)
    after = MAIN + tl.arange(0, REST)
    main = _gated(x, gate, offset, product, out, tl.arange(0, MAIN), width, GATED, PRODUCT, True)
    rest = _gated(x, gate, offset, product, out, after, width, GATED, PRODUCT, EXACT)
    _store_normed(normed + row * width, main, rest, scales, shifts, width, eps, MAIN, REST, EXACT)


def modulated_norm(x: Tensor, norm: Norm) -> Tensor:
    """plain.modulated_norm in one kernel."""
    x = x.contiguous()
    out = torch.empty_like(x)
    scale, shift = _rows(norm.scale), _rows(norm.shift)
    _launch(_modulated_norm_row, x, (x, scale, shift, out, *x.shape[1:], scale.stride(0), shift.stride(0), norm.eps))
    return out


def gated_norm(
    x: Tensor,
    gate: Tensor | None,
    offset: Tensor,
    product: Tensor | None,
    norm: Norm,
    into: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """plain.gated_norm in one kernel, of a branch whose `product` [B*tokens, D] is there already.

    Without a gate the branch is added as it is. `offset` is the branch's, [D] or [B*tokens, D]; without a product it is
    all there is: a skipped half's. `into` are the tensors to write, if they are there already.
    """
    x, offset = x.contiguous(), offset.contiguous()
    is_gated, scale, shift = gate is not None, _rows(norm.scale), _rows(norm.shift)
    gate = scale if gate is None else _rows(gate)
    out, normed = into or (torch.empty_like(x), torch.empty_like(x))
    offset_stride = x.shape[2] if offset.dim() > 1 else 0
    some = x if product is None else product.contiguous()
    strides = gate.stride(0), offset_stride, scale.stride(0), shift.stride(0)
    arguments = (x, gate, offset, some, scale, shift, out, normed, *x.shape[1:], *strides, norm.eps)
    _launch(_gated_norm_row, x, arguments, GATED=is_gated, PRODUCT=product is not None)
    return out, normed


def warps_of(width: int) -> int:
    """That share a row of so many values; a power of two."""
    return max(1, min(8, _main(width) // _ROW_OF_A_WARP))


def _main(width: int) -> int:
    """The largest power of two that is not wider."""
    return 1 << (width.bit_length() - 1)


def _rows(modulation: Tensor) -> Tensor:
    """[B, 1, D], a slice of the conditions, with D values side by side."""
    return modulation if modulation.stride(-1) == 1 else modulation.contiguous()


def _launch(kernel: Any, x: Tensor, arguments: tuple[Any, ...], **constants: int) -> None:
    """One program for every row of x [B, tokens, D], on x's device."""
    if not x.numel():
        return
    width, main = x.shape[2], _main(x.shape[2])
    rest = triton.next_power_of_2(max(1, width - main))
    cut = {"MAIN": main, "REST": rest, "EXACT": main + rest == width}
    with torch.cuda.device(x.device if x.is_cuda else -1):
        kernel[(x.shape[0] * x.shape[1],)](*arguments, **constants, **cut, num_warps=warps_of(width))
