"""What denoisers are made of beside matmuls.

Where float32's products may round to TF32, on a GPU, attention and what surrounds it take most of a step: torch's
float32 attention kernel and half a dozen passes over memory a block. There, and only there, these take the fast way:
attention in float16, and norm and gate each compiled into one kernel. Elsewhere they are the plain operators, which
a graph is traced from.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from diffes.precision import rounds_to_tf32


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention, three of [B, heads, tokens, d] → [B, heads, tokens, d] of the same dtype.

    float16 keeps TF32's ten bits, but its range is smaller: queries, keys or values beyond 65,504 become infinite,
    which a rollout reports.
    """
    if not rounds_to_tf32(queries):
        return F.scaled_dot_product_attention(queries, keys, values)
    return F.scaled_dot_product_attention(queries.half(), keys.half(), values.half()).to(queries.dtype)


def modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, ones: Tensor, eps: float) -> Tensor:
    """Layer norm of x [B, tokens, D], times scale, plus shift, both [B, 1, D]; ones [D] is the norm's own weight."""
    return _fused(_modulated_norm, x)(x, scale, shift, ones, eps)


def gated_sum(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate * branch: x [B, tokens, D], gate [B, 1, D], branch like x or [D]."""
    return _fused(_gated_sum, x)(x, gate, branch)


def _modulated_norm(x: Tensor, scale: Tensor, shift: Tensor, ones: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], ones, eps=eps) * scale + shift


def _gated_sum(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    return x + gate * branch


def _fused(function: Callable[..., Tensor], x: Tensor) -> Callable[..., Tensor]:
    return _compiled(function) if rounds_to_tf32(x) else function


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=True)
