"""A Triton kernel for what follows a denoiser call: guidance, one step of the sampler, and whether all is finite.

In torch these are two dozen kernels on tensors so small that starting them takes longer than what they calculate, while
the GPU waits for the next step.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from diffes.kernels.plain import Advanced

_BLOCK = 2048  # values of a row that a program takes


@triton.jit(do_not_specialize=["rows"])  # compiled once, not again for one row, for sixteen and for others
def _advance_block(  # type: ignore[no-untyped-def]
    x,
    out,
    before,
    coefficients,
    after,
    clean,
    finite,
    rows,
    size,
    stride,
    clip,
    GUIDED: tl.constexpr,
    CLIPPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    within = part * BLOCK + tl.arange(0, BLOCK)
    there = within < size
    at = row * size + within
    coefficients += row * stride
    guidance = tl.load(coefficients)
    from_x = tl.load(coefficients + 1)
    from_out = tl.load(coefficients + 2)
    keep = tl.load(coefficients + 3)
    model = tl.load(coefficients + 4)
    of_clean = tl.load(coefficients + 5)
    previous = tl.load(coefficients + 6)
    prediction = tl.load(out + at, mask=there, other=0.0).to(tl.float32)
    if GUIDED:
        unconditional = tl.load(out + rows * size + at, mask=there, other=0.0).to(tl.float32)
        prediction = unconditional + guidance * (prediction - unconditional)
    sound = tl.min((tl.abs(prediction) < float("inf")).to(tl.int32), axis=0)  # false of what is no number, too
    tl.store(finite + row * tl.num_programs(0) + part, sound.to(tl.int8))
    latents = tl.load(x + at, mask=there, other=0.0)
    x0 = from_x * latents + from_out * prediction
    if CLIPPED:
        x0 = tl.minimum(tl.maximum(x0, -clip), clip)
    then = tl.load(before + at, mask=there, other=0.0)
    tl.store(after + at, keep * latents + model * prediction + of_clean * x0 + previous * then, mask=there)
    tl.store(clean + at, x0, mask=there)


def guided_advance(
    coefficients: Tensor, clip: float, x: Tensor, out: Tensor, before: Tensor, *, guided: bool
) -> Advanced:
    """plain.guided_advance in one kernel; `finite` has a column for every part of a row that was looked at."""
    x, out, before = x.contiguous(), out.contiguous(), before.contiguous()
    rows, size = len(x), x[0].numel()
    parts = triton.cdiv(size, _BLOCK)
    after, clean = torch.empty_like(x), torch.empty_like(x)
    finite = torch.empty(rows, parts, dtype=torch.bool, device=x.device)
    clipped = clip != float("inf")
    with torch.cuda.device(x.device if x.is_cuda else -1):
        _advance_block[(parts, rows)](
            x,
            out,
            before,
            coefficients,
            after,
            clean,
            finite.view(torch.int8),
            rows,
            size,
            coefficients.stride(0),
            clip if clipped else 0.0,
            GUIDED=guided,
            CLIPPED=clipped,
            BLOCK=_BLOCK,
        )
    return Advanced(after, clean, finite)
