"""Triton kernels for what stands between the convolutions of a VAE's decoder, on activations that lie channels last.

A library's group norm wants channels first, which convolutions on a GPU are slow in: between the two, activations are
turned around again and again. Here a norm and the SiLU after it read them twice and write them once: sums of every
channel over runs of pixels, from these the mean and the scale of every group, and both applied. Sums are of what is
left of a value of the channel's own, so that a mean far from 0 costs no digits. Everything is calculated in float32 and
rounded once, and an image is worked on the same way whatever else is in the batch.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from diffes.kernels.plain import GroupNorm

_TILE = 4096  # values a program holds at once
_SUMMED = 16  # tiles at most that a program adds up
_RUNS = 128  # programs an image is cut into before they add up more than one tile
_ADDED = 8192  # sums of runs that are added up at once
_WARPS = 4


@triton.jit
def _tile(sample, run, pixels, channels, PIXELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the values of a run of pixels lie, and which of them there are."""
    pixel = run * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, WIDTH)
    at = (sample * pixels + pixel[:, None]) * channels + channel[None, :]
    return at, (pixel < pixels)[:, None] & (channel < channels)[None, :]


@triton.jit
def _sum_runs(  # type: ignore[no-untyped-def]
    x, means, squares, pixels, channels, TILES: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr
):
    """Mean of every channel over a run of pixels, and the sum of squares of what is left of it."""
    run = tl.program_id(0)
    sample = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    first = (sample * pixels + run * TILES * PIXELS) * channels + channel
    origin = tl.load(x + first, mask=channel < channels, other=0.0).to(tl.float32)
    sums = tl.zeros([PIXELS, WIDTH], tl.float32)
    powers = tl.zeros([PIXELS, WIDTH], tl.float32)
    for tile in range(TILES):
        at, there = _tile(sample, run * TILES + tile, pixels, channels, PIXELS, WIDTH)
        values = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
        values = tl.where(there, values - origin[None, :], 0.0)
        sums += values
        powers += values * values
    count = tl.minimum(pixels - run * TILES * PIXELS, TILES * PIXELS)
    total = tl.sum(sums, axis=0)
    out = (sample * tl.num_programs(0) + run) * channels + channel
    tl.store(means + out, origin + total / count, mask=channel < channels)
    tl.store(squares + out, tl.maximum(tl.sum(powers, axis=0) - total * total / count, 0.0), mask=channel < channels)


@triton.jit
def _runs(  # type: ignore[no-untyped-def]
    first, sample, channel, own, pixels, channels, runs, PIXELS: tl.constexpr, RUNS: tl.constexpr
):
    """Where the sums of runs from `first` on lie, which of them there are, and of how many pixels each is."""
    run = first + tl.arange(0, RUNS)
    at = (sample * runs + run[:, None]) * channels + channel[None, :]
    counts = tl.minimum(pixels - run * PIXELS, PIXELS).to(tl.float32)
    return at, (run < runs)[:, None] & own[None, :], counts[:, None]


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
    own = inside < GROUP
    total = tl.zeros([WIDTH], tl.float32)
    for first in range(0, runs, RUNS):
        at, there, counts = _runs(first, sample, channel, own, pixels, channels, runs, PIXELS, RUNS)
        total += tl.sum(tl.load(means + at, mask=there, other=0.0) * counts, axis=0)
    mean = tl.sum(total, axis=0) / (pixels * GROUP)
    total = tl.zeros([WIDTH], tl.float32)
    for first in range(0, runs, RUNS):
        at, there, counts = _runs(first, sample, channel, own, pixels, channels, runs, PIXELS, RUNS)
        aside = tl.where(there, tl.load(means + at, mask=there, other=0.0) - mean, 0.0)
        total += tl.sum(tl.load(squares + at, mask=there, other=0.0) + aside * aside * counts, axis=0)
    variance = tl.sum(total, axis=0) / (pixels * GROUP)
    factor = tl.load(weight + channel, mask=own, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    tl.store(centre + sample * channels + channel, mean + tl.zeros([WIDTH], tl.float32), mask=own)
    tl.store(scale + sample * channels + channel, factor, mask=own)


@triton.jit
def _apply(  # type: ignore[no-untyped-def]
    x, centre, scale, bias, out, pixels, channels, SILU: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr
):
    sample = tl.program_id(1).to(tl.int64)
    at, there = _tile(sample, tl.program_id(0), pixels, channels, PIXELS, WIDTH)
    channel = tl.arange(0, WIDTH)
    own = channel < channels
    mean = tl.load(centre + sample * channels + channel, mask=own, other=0.0)
    factor = tl.load(scale + sample * channels + channel, mask=own, other=0.0)
    offset = tl.load(bias + channel, mask=own, other=0.0).to(tl.float32)
    values = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    values = (values - mean[None, :]) * factor[None, :] + offset[None, :]
    if SILU:
        small = tl.exp(-tl.abs(values))  # never overflows
        values = values * tl.where(values < 0, small, 1.0) / (1.0 + small)
    tl.store(out + at, values.to(out.dtype.element_ty), mask=there)


@triton.jit
def _sum_of_three(  # type: ignore[no-untyped-def]
    x, bias, skip, out, pixels, channels, apart, SKIP: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr
):
    sample = tl.program_id(1).to(tl.int64)
    at, there = _tile(sample, tl.program_id(0), pixels, channels, PIXELS, WIDTH)
    channel = tl.arange(0, WIDTH)
    offset = tl.load(bias + sample * apart + channel, mask=channel < channels, other=0.0).to(tl.float32)
    values = tl.load(x + at, mask=there, other=0.0).to(tl.float32) + offset[None, :]
    if SKIP:
        values += tl.load(skip + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, values.to(out.dtype.element_ty), mask=there)


@triton.jit
def _four_of_each(x, out, pixels, channels, columns, PIXELS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    sample = tl.program_id(1).to(tl.int64)
    run = tl.program_id(0)
    at, there = _tile(sample, run, pixels, channels, PIXELS, WIDTH)
    values = tl.load(x + at, mask=there)
    pixel = run * PIXELS + tl.arange(0, PIXELS)
    corner = 4 * (pixel // columns) * columns + 2 * (pixel % columns)  # row 2 * (p // c) of 2 * c columns
    for down in tl.static_range(2):
        for right in tl.static_range(2):
            place = sample * 4 * pixels + corner + down * 2 * columns + right
            tl.store(out + place[:, None] * channels + tl.arange(0, WIDTH)[None, :], values, mask=there)


def group_norm(x: Tensor, norm: GroupNorm, *, silu: bool = False) -> Tensor:
    """x [B, C, h, w] normed, through SiLU if asked for → like x, channels last."""
    x, out = _channels_last(x)
    if not x.numel():
        return out
    rows, channels, height, width = x.shape
    pixels, tile = height * width, _tile_of(channels)
    tiles = min(_SUMMED, max(1, pixels // (_RUNS * tile["PIXELS"])))
    runs = triton.cdiv(pixels, tiles * tile["PIXELS"])
    sums = torch.empty(2, rows, runs, channels, device=x.device, dtype=torch.float32)
    scales = torch.empty(2, rows, channels, device=x.device, dtype=torch.float32)
    group = channels // norm.groups
    within = triton.next_power_of_2(group)
    with _on(x):
        _sum_runs[(runs, rows)](x, *sums.unbind(), pixels, channels, TILES=tiles, **tile)
        _mean_and_scale[(norm.groups, rows)](
            *sums.unbind(),
            norm.weight,
            *scales.unbind(),
            pixels,
            channels,
            runs,
            norm.eps,
            GROUP=group,
            PIXELS=tiles * tile["PIXELS"],
            RUNS=min(triton.next_power_of_2(runs), max(1, _ADDED // within)),
            WIDTH=within,
            num_warps=_WARPS,
        )
        grid = triton.cdiv(pixels, tile["PIXELS"]), rows
        _apply[grid](x, *scales.unbind(), norm.bias, out, pixels, channels, SILU=silu, **tile)
    return out


def biased_sum(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    """x [B, C, h, w] + bias [C] or [B, C] + skip, which is like x → like x, channels last."""
    x, out = _channels_last(x)
    if not x.numel():
        return out
    other = x if skip is None else skip.contiguous(memory_format=torch.channels_last)
    pixels, tile = x.shape[2] * x.shape[3], _tile_of(x.shape[1])
    with _on(x):
        grid = triton.cdiv(pixels, tile["PIXELS"]), len(x)
        apart = 0 if bias.dim() == 1 else bias.stride(0)
        _sum_of_three[grid](x, bias, other, out, pixels, x.shape[1], apart, SKIP=skip is not None, **tile)
    return out


def convolved(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """plain.convolved: the library's, and one kernel for all that is added; it adds a bias in a slow one of its own."""
    x = x.contiguous(memory_format=torch.channels_last)
    x = F.conv2d(x, weight, None, stride=stride, padding=weight.shape[-1] // 2)
    if added is not None and added.dim() == 2:
        return biased_sum(x, bias + added)
    return biased_sum(x, bias, added)


def doubled(x: Tensor) -> Tensor:
    """x [B, C, h, w] with every pixel four times → [B, C, 2h, 2w], channels last."""
    rows, channels, height, width = x.shape
    x, _ = _channels_last(x)
    out = torch.empty(
        rows, channels, 2 * height, 2 * width, device=x.device, dtype=x.dtype, memory_format=torch.channels_last
    )
    if not x.numel():
        return out
    pixels, tile = height * width, _tile_of(channels)
    with _on(x):
        _four_of_each[(triton.cdiv(pixels, tile["PIXELS"]), rows)](x, out, pixels, channels, width, **tile)
    return out


def _channels_last(x: Tensor) -> tuple[Tensor, Tensor]:
    """x so, and memory for as much."""
    x = x.contiguous(memory_format=torch.channels_last)
    return x, torch.empty_like(x)


def _tile_of(channels: int) -> dict[str, int]:
    """All channels of so many pixels; by their number alone, so that no image's sums depend on the batch."""
    wide = triton.next_power_of_2(channels)
    return {"PIXELS": max(1, _TILE // wide), "WIDTH": wide, "num_warps": _WARPS}


def _on(x: Tensor) -> Any:
    return torch.cuda.device(x.device if x.is_cuda else -1)
