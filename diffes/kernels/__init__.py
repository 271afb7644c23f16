"""The operators of a step. plain.py defines them; on a GPU, in arithmetic that may round, cuda.py is faster.

Elsewhere they are the plain ones, and in a graph those that the runtime it is traced for has.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from diffes.errors import BackendError
from diffes.kernels import plain
from diffes.kernels.plain import Advanced, Branch, GroupNorm, LayerNorm, Norm, value_of
from diffes.precision import rounds_to_tf32

_ROUNDED = (torch.bfloat16, torch.float16)


def modulated_norm(x: Tensor, norm: Norm) -> Tensor:
    """x [B, tokens, D] normed → like x."""
    normed: Tensor = _of(x).modulated_norm(x, norm)
    return normed


def gated_norm(x: Tensor, gate: Tensor, branch: Branch, norm: Norm) -> tuple[Tensor, Tensor]:
    """x [B, tokens, D] + gate [B, 1, D] * branch, and the norm of that; both like x."""
    result: tuple[Tensor, Tensor] = _of(x).gated_norm(x, gate, branch, norm)
    return result


def layer_norm(x: Tensor, norm: LayerNorm) -> Tensor:
    """x [B, tokens, D] normed → like x."""
    normed: Tensor = _of(x).layer_norm(x, norm)
    return normed


def summed_norm(x: Tensor, branch: Branch, norm: LayerNorm) -> tuple[Tensor, Tensor]:
    """x [B, tokens, D] + branch, and the norm of that; both like x."""
    result: tuple[Tensor, Tensor] = _of(x).summed_norm(x, branch, norm)
    return result


def group_norm(x: Tensor, norm: GroupNorm) -> Tensor:
    """x [B, C, h, w] normed → like x."""
    normed: Tensor = _of(x).group_norm(x, norm)
    return normed


def group_norm_silu(x: Tensor, norm: GroupNorm) -> Tensor:
    """The same through SiLU."""
    normed: Tensor = _of(x).group_norm_silu(x, norm)
    return normed


def convolved(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """x [B, C, h, w] through a convolution, and what is added to that: like the result, or [B, channels] everywhere.

    Places see as far to all sides, so that without a stride height and width stay.
    """
    result: Tensor = _of(x).convolved(x, weight, bias, added, stride=stride)
    return result


def doubled(x: Tensor) -> Tensor:
    """x [B, C, h, w] with every pixel four times → [B, C, 2h, 2w]."""
    result: Tensor = _of(x).doubled(x)
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [M, K] @ weight [N, K] transposed + bias [N] → [M, N]."""
    result: Tensor = _of(x).linear(x, weight, bias)
    return result


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same through GELU (its tanh form)."""
    result: Tensor = _of(x).gelu_linear(x, weight, bias)
    return result


def self_attention(qkv: Tensor, images: tuple[int, int], head_dim: int) -> Tensor:
    """Attention within each image: qkv [B*tokens, heads*3*d], of each head q, k and v → [B*tokens, heads*d].

    `images` is (B, tokens).
    """
    mixed: Tensor = _of(qkv).self_attention(qkv, images, head_dim)
    return mixed


def gated_gelu_linear(x: Tensor, hidden: tuple[Tensor, Tensor], gate: tuple[Tensor, Tensor]) -> Tensor:
    """GEGLU: a linear map of x [M, K] times GELU of another, each its weight [N, K] and bias [N] → [M, N]."""
    result: Tensor = _of(x).gated_gelu_linear(x, hidden, gate)
    return result


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
    mixed: Tensor = _of(queries).cross_attention(queries, text, begins, images, head_dim, added)
    return mixed


def guided_advance(
    coefficients: Tensor, clip: float, x: Tensor, out: Tensor, before: Tensor, *, guided: bool
) -> Advanced:
    """Guidance and one step of a sampler, for rows that may stand at different steps.

    `coefficients` [B, 7] are guidance and the six of sampling.advance; x and `before`, [B, C, h, w] float32, are
    latents and the x0 before; rows of `out` are [conditional; unconditional] if `guided`. In float32 everywhere: on a
    GPU that has Triton in one kernel.
    """
    if x.is_cuda and find_spec("triton") is not None:
        from diffes.kernels import advance

        return advance.guided_advance(coefficients, clip, x, out, before, guided=guided)
    return plain.guided_advance(coefficients, clip, x, out, before, guided=guided)


def is_fast(x: Tensor) -> bool:
    """Whether cuda.py works on this tensor: one on a GPU, of 16 bits or whose products round to TF32 now."""
    return x.is_cuda and (x.dtype in _ROUNDED or rounds_to_tf32(x))


_traced: ContextVar[ModuleType | None] = ContextVar("traced", default=None)


@contextmanager
def traced_as(operators: ModuleType) -> Iterator[None]:
    """Inside, the operators are those of a module like plain.py: a runtime's own, for the graph that is traced."""
    token = _traced.set(operators)
    try:
        yield
    finally:
        _traced.reset(token)


def _of(x: Tensor) -> ModuleType:
    if torch.compiler.is_dynamo_compiling():  # which wants definitions, and knows no context variables
        return plain
    operators = _traced.get()
    if operators is not None:
        return operators
    if not is_fast(x):
        return plain
    try:  # Triton is only there beside torch's builds for GPUs, and only they come here
        from diffes.kernels import cuda
    except ImportError as error:
        raise BackendError(
            "fast arithmetic on this GPU needs Triton",
            expected="the package triton, which torch's CUDA builds for Linux bring",
            found=str(error),
            remedy="Install it, or calculate in float32 without TF32.",
        ) from error
    return cuda


__all__ = [
    "Advanced",
    "Branch",
    "GroupNorm",
    "LayerNorm",
    "Norm",
    "convolved",
    "cross_attention",
    "doubled",
    "gated_gelu_linear",
    "gated_norm",
    "gelu_linear",
    "group_norm",
    "group_norm_silu",
    "guided_advance",
    "is_fast",
    "layer_norm",
    "linear",
    "modulated_norm",
    "self_attention",
    "summed_norm",
    "traced_as",
    "value_of",
]
