"""A Triton kernel for what follows the two products of a GEGLU: one times GELU of the other, each read once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048  # values a program takes
_ROOT_HALF = tl.constexpr(0.5**0.5)


@triton.jit
def _gated_gelu_block(hidden, gate, out, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < size
    value = tl.load(hidden + at, mask=there, other=0.0).to(tl.float32)
    opening = tl.load(gate + at, mask=there, other=0.0).to(tl.float32)
    opening = 0.5 * opening * (1.0 + tl.erf(opening * _ROOT_HALF))
    tl.store(out + at, (value * opening).to(out.dtype.element_ty), mask=there)


def gated_gelu(hidden: Tensor, gate: Tensor) -> Tensor:
    """hidden [M, N] times GELU of gate [M, N] → like them; calculated in float32 and rounded once."""
    hidden, gate = hidden.contiguous(), gate.contiguous()
    out = torch.empty_like(hidden)
    if hidden.numel():
        with torch.cuda.device(hidden.device if hidden.is_cuda else -1):
            _gated_gelu_block[(triton.cdiv(hidden.numel(), _BLOCK),)](hidden, gate, out, hidden.numel(), BLOCK=_BLOCK)
    return out
