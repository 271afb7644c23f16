"""Attention, rounded as float32's products are where it is called."""

from torch import Tensor
from torch.nn import functional as F

from diffes.precision import rounds_to_tf32


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention, three of [B, heads, tokens, d] → [B, heads, tokens, d] of the same dtype.

    torch's kernels for float32 round to nothing less and take half of a DiT's step on an H100. Where products may round
    to TF32 it is calculated in float16, which keeps TF32's ten bits, so that a fused kernel does it. Its range is
    smaller: queries, keys or values beyond 65,504 become infinite, which a rollout reports.
    """
    if not rounds_to_tf32(queries):
        return F.scaled_dot_product_attention(queries, keys, values)
    return F.scaled_dot_product_attention(queries.half(), keys.half(), values.half()).to(queries.dtype)
