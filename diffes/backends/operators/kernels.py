"""What the operators calculate: on a GPU by the Triton kernels of diffes/kernels, elsewhere by the plain operators.

GatedNorm: x [B, tokens, D], gate [B, 1, D], product [B*tokens, D], offset [D] or [B*tokens, D], scale and shift
[B, 1, D] → the sum and its norm, both like x. SelfAttention: product [B*tokens, heads*3*d], bias [heads*3*d], x
[B, tokens, D] for its shape → [B*tokens, heads*d].
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from diffes.backends.operators.abi import Attributes, Library, Operator, Outputs
from diffes.kernels import plain
from diffes.kernels.plain import Branch, Norm

_PROGRAMS = 256  # of attention: fewer leave some of a GPU's processors idle, so that smaller tiles are faster
_TILES = ((128, 64, 4), (64, 64, 4))  # queries, keys, warps


def _gated_norm(inputs: Sequence[Tensor], attributes: Attributes, output: Outputs) -> None:
    x, gate, product, offset, scale, shift = inputs
    into = output(0, x.shape), output(1, x.shape)
    norm = Norm(scale, shift, torch.ones(0), attributes["epsilon"])
    if x.is_cuda:
        from diffes.kernels import norms

        norms.gated_norm(x, gate, offset, product, norm, into)
        return
    norm = norm._replace(ones=torch.ones(x.shape[2], dtype=x.dtype, device=x.device))
    for memory, value in zip(into, plain.gated_norm(x, gate, Branch(product + offset), norm), strict=True):
        memory.copy_(value)


def _self_attention(inputs: Sequence[Tensor], attributes: Attributes, output: Outputs) -> None:
    product, bias, x = inputs
    images = x.shape[0], x.shape[1]
    heads = int(attributes["num_heads"])
    head_dim = product.shape[1] // (3 * heads)
    into = output(0, (product.shape[0], heads * head_dim))
    if product.is_cuda:
        from diffes.kernels import attention

        programs = images[0] * heads * images[1] // _TILES[0][0]
        tile = _TILES[programs < _PROGRAMS]
        attention.self_attention(product, images, head_dim, tile=tile, bias=bias, into=into)
        return
    into.copy_(plain.self_attention(product + bias, images, head_dim))


_OPERATORS = (
    Operator("GatedNorm", 6, 2, _gated_norm, floats=("epsilon",)),
    Operator("SelfAttention", 3, 1, _self_attention, integers=("num_heads",)),
)


@cache
def library(dtype: torch.dtype, device: torch.device, stream: torch.cuda.Stream | None = None) -> Library:
    """All operators for tensors of one type on one device, kept for the life of the process."""
    return Library(_OPERATORS, dtype, device, stream)
