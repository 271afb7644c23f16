"""Triton kernels for what stands between the convolutions of a VAE's decoder: group norm and SiLU, channels last.

A library's group norm wants channels first, which convolutions on a GPU are slow in: between the two, activations are
turned around again and again. Here they are read twice and written once, whatever their size: sums of every channel
over a run of pixels, from these the mean and the scale of every group, and both applied. Sums are of what is left of
the mean, so that a mean far from 0 costs no digits. Everything is calculated in float32 and rounded once. An image is
worked on the same way whatever else is in the batch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from diffes.kernels.plain import GroupNorm

_TILE = 8192  # values a program holds at once
_RUNS = 1024  # values of the sums that a program adds up at once
_WARPS = 4


@triton.jit
def _tile(sample, run, pixels, channels, PIXELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the values of a run of pixels lie, and which of them there are."""
    pixel = run * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, WIDTH)
    at = (sample * pixels + pixel[:, None]) * channels + channel[None, :]
    return at, (pixel < pixels)[:, None] & (channel < channels)[None, :]


@triton.jit
def _sum_runs(x, means, squares, pixels, channels, PIXELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean of every channel over a run of pixels, and the sum of squares of what is left of it."""
    run = tl.program_id(0)
    sample = tl.program_id(1).to(tl.int64)
    at, there = _tile(sample, run, pixels, channels, PIXELS, WIDTH)
    values = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=0) / tl.minimum(pixels - run * PIXELS, PIXELS)
    left = tl.where(there, values - mean[None, :], 0.0)
    channel = tl.arange(0, WIDTH)
    out = (sample * tl.num_programs(0) + run) * channels + channel
    tl.store(means + out, mean, mask=channel < channels)
    tl.store(squares + out, tl.sum(left * left, axis=0), mask=channel < channels)


@triton.jit
def _mean_and_scale(  # type: ignore[no-untyped-def]
    means,
    squares,
    weight,
    centre,
    scale,
    pixels,
    channels,
    runs,
    eps,
    GROUP: tl.constexpr,
    PIXELS: tl.constexpr,
    RUNS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """What is taken from a group's channels, and what they are multiplied by then."""
    group = tl.program_id(0)
    sample = tl.program_id(1).to(tl.int64)
    inside = tl.arange(0, WIDTH)
    channel = group * GROUP + inside
    total = tl.zeros([WIDTH], tl.float32)
    for first in range(0, runs, RUNS):
        run = first + tl.arange(0, RUNS)
        there = (run < runs)[:, None] & (inside < GROUP)[None, :]
        at = (sample * runs + run[:, None]) * channels + channel[None, :]
        counts = tl.minimum(pixels - run * PIXELS, PIXELS).to(tl.float32)
        total += tl.sum(tl.load(means + at, mask=there, other=0.0) * counts[:, None], axis=0)
    mean = tl.sum(total, axis=0) / (pixels * GROUP)
    total = tl.zeros([WIDTH], tl.float32)
    for first in range(0, runs, RUNS):
        run = first + tl.arange(0, RUNS)
        there = (run < runs)[:, None] & (inside < GROUP)[None, :]
        at = (sample * runs + run[:, None]) * channels + channel[None, :]
        counts = tl.minimum(pixels - run * PIXELS, PIXELS).to(tl.float32)
        aside = tl.where(there, tl.load(means + at, mask=there, other=0.0) - mean, 0.0)
        total += tl.sum(tl.load(squares + at, mask=there, other=0.0) + aside * aside * counts[:, None], axis=0)
    variance = tl.sum(total, axis=0) / (pixels * GROUP)
    own = inside < GROUP
    factor = tl.load(weight + channel, mask=own, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    tl.store(centre + sample * channels + channel, mean + tl.zeros([WIDTH], tl.float32), mask=own)
    tl.store(scale + sample * channels + channel, factor, mask=own)


@triton.jit
def _apply_silu(x, centre, scale, bias, out, pixels, channels, PIXELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    sample = tl.program_id(1).to(tl.int64)
    at, there = _tile(sample, tl.program_id(0), pixels, channels, PIXELS, WIDTH)
    channel = tl.arange(0, WIDTH)
    own = channel < channels
    mean = tl.load(centre + sample * channels + channel, mask=own, other=0.0)
    factor = tl.load(scale + sample * channels + channel, mask=own, other=0.0)
    offset = tl.load(bias + channel, mask=own, other=0.0).to(tl.float32)
    values = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    values = (values - mean[None, :]) * factor[None, :] + offset[None, :]
    small = tl.exp(-tl.abs(values))  # never overflows
    values = values * tl.where(values < 0, small, 1.0) / (1.0 + small)
    tl.store(out + at, values.to(out.dtype.element_ty), mask=there)


def group_norm_silu(x: Tensor, norm: GroupNorm) -> Tensor:
    """plain.group_norm_silu in three kernels; the result lies channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    if not x.numel():
        return out
    rows, channels, height, width = x.shape
    pixels = height * width
    wide = triton.next_power_of_2(channels)
    run = max(1, _TILE // wide)
    runs = triton.cdiv(pixels, run)
    sums = torch.empty(2, rows, runs, channels, device=x.device, dtype=torch.float32)
    scales = torch.empty(2, rows, channels, device=x.device, dtype=torch.float32)
    tile = {"PIXELS": run, "WIDTH": wide, "num_warps": _WARPS}
    group = channels // norm.groups
    within = triton.next_power_of_2(group)
    together = min(triton.next_power_of_2(runs), max(1, _RUNS // within))
    with torch.cuda.device(x.device if x.is_cuda else -1):
        _sum_runs[(runs, rows)](x, *sums.unbind(), pixels, channels, **tile)
        _mean_and_scale[(norm.groups, rows)](
            *sums.unbind(),
            norm.weight,
            *scales.unbind(),
            pixels,
            channels,
            runs,
            norm.eps,
            GROUP=group,
            PIXELS=run,
            RUNS=together,
            WIDTH=within,
            num_warps=_WARPS,
        )
        _apply_silu[(runs, rows)](x, *scales.unbind(), norm.bias, out, pixels, channels, **tile)
    return out
