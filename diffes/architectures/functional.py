"""What denoisers are made of beside matmuls.

Where float32's products may round to TF32, on a GPU, attention and what surrounds it take most of a step: torch's
float32 attention kernel and half a dozen passes over memory a block. There, and only there, these take the fast way:
attention in float16, norm and gate in one kernel each (kernels.py). Elsewhere they are the plain operators, which a
graph is traced from.
"""

from types import ModuleType

from torch import Tensor
from torch.nn import functional as F

from diffes.errors import BackendError
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
    if rounds_to_tf32(x):
        normed: Tensor = _kernels().modulated_norm(x, scale, shift, eps)
        return normed
    return F.layer_norm(x, x.shape[-1:], ones, eps=eps) * scale + shift


def gated_sum(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + gate * branch: x [B, tokens, D], gate [B, 1, D], branch like x or [D]."""
    if rounds_to_tf32(x):
        added: Tensor = _kernels().gated_sum(x, gate, branch)
        return added
    return x + gate * branch


def _kernels() -> ModuleType:
    """Triton is only there beside torch's builds for GPUs, and only they come here."""
    try:
        from diffes.architectures import kernels
    except ImportError as error:
        raise BackendError(
            "fast arithmetic on this GPU needs Triton",
            expected="the package triton, which torch's CUDA builds for Linux bring",
            found=str(error),
            remedy="Install it, or calculate in float32.",
        ) from error
    return kernels
