"""The operators of a denoiser's step, defined in torch: what CPUs run, and what ONNX graphs are traced from.

A transformer block is two halves. Each reads a modulated norm of the residual stream x and adds a gated branch to it;
so one operator, `gated_norm`, ends a half and makes the entry of the next one.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from diffes.sampling import advance, guide


class Norm(NamedTuple):
    """A layer norm without weights of its own, times `scale`, plus `shift`, both [B, 1, D].

    `ones` [D] stand for the weights it has not: ONNX asks for them.
    """

    scale: Tensor
    shift: Tensor
    ones: Tensor
    eps: float


class LayerNorm(NamedTuple):
    """A layer norm with weights of its own, both [D]."""

    weight: Tensor
    bias: Tensor
    eps: float


class GroupNorm(NamedTuple):
    """A group norm of `groups` groups of channels; weights are [C]."""

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float


class Branch(NamedTuple):
    """What a half adds to the residual stream: inputs [B*tokens, K] @ weight [K, D] + offset, [D] or [B*tokens, D].

    Of a skipped half the offset is all there is.
    """

    offset: Tensor
    inputs: Tensor | None = None
    weight: Tensor | None = None


class Advanced(NamedTuple):
    """What a step left: latents and x0 [B, C, h, w] float32, and whether what it was told is finite, [B, any]."""

    latents: Tensor
    clean: Tensor
    finite: Tensor


def modulated_norm(x: Tensor, norm: Norm) -> Tensor:
    """x [B, tokens, D] normed → like x."""
    return F.layer_norm(x, x.shape[-1:], norm.ones, eps=norm.eps) * norm.scale + norm.shift


def gated_norm(x: Tensor, gate: Tensor, branch: Branch, norm: Norm) -> tuple[Tensor, Tensor]:
    """x [B, tokens, D] + gate [B, 1, D] * branch, and the norm of that; both like x."""
    x = x + gate * value_of(branch, x)
    return x, modulated_norm(x, norm)


def layer_norm(x: Tensor, norm: LayerNorm) -> Tensor:
    """x [B, tokens, D] normed → like x."""
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def summed_norm(x: Tensor, branch: Branch, norm: LayerNorm) -> tuple[Tensor, Tensor]:
    """x [B, tokens, D] + branch, and the norm of that; both like x."""
    x = x + value_of(branch, x)
    return x, layer_norm(x, norm)


def group_norm(x: Tensor, norm: GroupNorm) -> Tensor:
    """x [B, C, h, w] normed → like x."""
    return F.group_norm(x, norm.groups, norm.weight, norm.bias, norm.eps)


def group_norm_silu(x: Tensor, norm: GroupNorm) -> Tensor:
    """The same through SiLU."""
    return F.silu(group_norm(x, norm))


def convolved(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """x [B, C, h, w] through a convolution whose places see as far to all sides, and what is added to that: like the
    result, or [B, channels], the same at all places.
    """
    x = F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
    if added is None:
        return x
    return x + (added[:, :, None, None] if added.dim() == 2 else added)


def doubled(x: Tensor) -> Tensor:
    """x [B, C, h, w] with every pixel four times → [B, C, 2h, 2w]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def value_of(branch: Branch, like: Tensor) -> Tensor:
    """The branch as a tensor, [B, tokens, D] as `like`, or [D]."""
    offset, inputs, weight = branch
    if inputs is not None and weight is not None:
        offset = torch.addmm(offset, inputs, weight)
    return offset.view(-1, *like.shape[1:]) if offset.dim() > 1 else offset


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [M, K] @ weight [N, K] transposed + bias [N] → [M, N]."""
    return F.linear(x, weight, bias)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same through GELU (its tanh form)."""
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def self_attention(qkv: Tensor, images: tuple[int, int], head_dim: int) -> Tensor:
    """Attention within each image: qkv [B*tokens, heads*3*d], of each head q, k and v → [B*tokens, heads*d].

    `images` is (B, tokens).
    """
    rows, tokens = images
    # -1 where heads would stand, so that one traced graph serves every number of heads
    parts = qkv.view(rows, tokens, -1, 3, head_dim).permute(3, 0, 2, 1, 4).split(1)
    q, k, v = (part.squeeze(0) for part in parts)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).contiguous().view(rows * tokens, -1)


def gated_gelu_linear(x: Tensor, hidden: tuple[Tensor, Tensor], gate: tuple[Tensor, Tensor]) -> Tensor:
    """GEGLU (Shazeer 2020): a linear map of x times GELU of another, each its weight [N, K] and bias [N] → [M, N]."""
    return F.linear(x, *hidden) * F.gelu(F.linear(x, *gate))


def cross_attention(
    queries: Tensor,
    text: Tensor,
    begins: tuple[int, int],
    images: tuple[int, int],
    head_dim: int,
    added: Tensor | None = None,
) -> Tensor:
    """Attention of each image to its text: queries [B*tokens, heads*d] → like them. `images` is (B, tokens).

    text [B, T, all] holds keys and values; `begins` tells where those of as many heads as there are queries begin.
    `added` [B, 1, T] is added to all scores.
    """
    rows, tokens = images
    q = queries.view(rows, tokens, -1, head_dim)
    k, v = (columns_from(text, begin, queries).view(rows, text.shape[1], -1, head_dim) for begin in begins)
    # for every query: ONNX Runtime's operator takes no mask that is one for all
    mask = None if added is None else added.unsqueeze(1).expand(-1, -1, tokens, -1)
    mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask)
    return mixed.transpose(1, 2).contiguous().view(rows * tokens, -1)


def columns_from(x: Tensor, begin: int, like: Tensor) -> Tensor:
    """x [B, T, N] → [B, T, K] from column `begin` on, of like [M, K]. A traced graph asks `like` for K, for it serves
    every K, and takes them in one cut: all that follow would be copied for each of many.
    """
    if not torch.onnx.is_in_onnx_export():
        return x[..., begin : begin + like.shape[1]]
    wide = torch.onnx.ops.symbolic("::Shape", (like,), {"start": 1, "end": 2}, dtype=torch.int64, shape=[1], version=15)
    first, axis = torch.full((1,), begin, dtype=torch.int64), torch.full((1,), 2, dtype=torch.int64)
    shape = (*x.shape[:2], like.shape[1])
    return torch.onnx.ops.symbolic("::Slice", (x, first, first + wide, axis), dtype=x.dtype, shape=shape, version=13)


def guided_advance(
    coefficients: Tensor, clip: float, x: Tensor, out: Tensor, before: Tensor, *, guided: bool
) -> Advanced:
    """sampling.guide, where rows of `out` are [conditional; unconditional], and sampling.advance.

    `coefficients` [B, 7] float32 are guidance and the six of `advance`; x and `before` are [B, C, h, w] float32.
    """
    out = out.to(x)
    if guided:
        out = guide(out, coefficients[:, 0].view(-1, 1, 1, 1))
    finite = out.isfinite().flatten(1).all(1, keepdim=True)
    return Advanced(*advance(coefficients[:, 1:], clip, x, out, before), finite)
