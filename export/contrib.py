"""The operators of a step as ONNX Runtime has kernels for them, in place of diffes/kernels/plain.py while tracing.

Its LayerNormalization takes a scale and a shift of every sample (microsoft/onnxruntime #23297), FastGelu adds the bias
of the product before it, and MultiHeadAttention reads heads side by side as a product leaves them.
"""

import torch
from torch import Tensor

from diffes.kernels import plain
from diffes.kernels.plain import (
    Branch,
    Norm,
    convolved,
    cross_attention,
    doubled,
    gated_gelu_linear,
    group_norm,
    group_norm_silu,
    layer_norm,
    linear,
    summed_norm,
)

HEAD_DIM = "diffes.head_dim"  # a note on attention nodes: a plan's number of heads is set when its weights are

__all__ = [
    "HEAD_DIM",
    "convolved",
    "cross_attention",
    "doubled",
    "gated_gelu_linear",
    "gated_norm",
    "gelu_linear",
    "group_norm",
    "group_norm_silu",
    "layer_norm",
    "linear",
    "modulated_norm",
    "self_attention",
    "summed_norm",
]


def modulated_norm(x: Tensor, norm: Norm) -> Tensor:
    """plain.modulated_norm as one operator; scale and shift keep three axes, or CUDA's kernel reads them wrong."""
    found: Tensor = torch.onnx.ops.symbolic(
        "::LayerNormalization",
        (x, norm.scale, norm.shift),
        {"axis": -1, "epsilon": norm.eps},
        dtype=x.dtype,
        shape=x.shape,
        version=17,
    )
    return found


def gated_norm(x: Tensor, gate: Tensor, branch: Branch, norm: Norm) -> tuple[Tensor, Tensor]:
    """plain.gated_norm with that norm."""
    x = x + gate * plain.value_of(branch, x)
    return x, modulated_norm(x, norm)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """plain.gelu_linear with the bias added where GELU reads the product."""
    product = x @ weight.t()
    found: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::FastGelu", (product, bias), dtype=x.dtype, shape=product.shape, version=1
    )
    return found


def self_attention(qkv: Tensor, images: tuple[int, int], head_dim: int) -> Tensor:
    """plain.self_attention as one operator on q, k and v of [B, tokens, heads*d]."""
    rows, tokens = images
    parts = qkv.view(rows, tokens, -1, 3, head_dim).split(1, 3)
    # copied before they are viewed: a reshape would write this plan's number of heads into the graph
    queries, keys, values = (part.contiguous().view(rows, tokens, -1) for part in parts)
    heads = qkv.shape[1] // (3 * head_dim)
    mixed = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (queries, keys, values),
        {"num_heads": heads},
        dtype=qkv.dtype,
        shape=queries.shape,
        version=1,
        metadata_props={HEAD_DIM: str(head_dim)},
    )
    return mixed.view(rows * tokens, -1)
