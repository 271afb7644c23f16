"""Products of 16-bit matrices by any of cuBLASLt's algorithms, through nvmath-python if it is installed.

cuBLASLt's own first choice is often not its fastest algorithm, above all with GELU behind the product. Which of them
are worth trying it says itself; and for a wider product it may name one that it does not name for this one, but that is
the best for it too.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

try:  # an optional package; without it there is the library's first choice alone
    from nvmath import bindings
    from nvmath.linalg import advanced
except ImportError:
    advanced = bindings = None

AVAILABLE = advanced is not None

_SCRATCH = "32 MiB"  # what an algorithm may take for itself
_OFFERED = 8  # algorithms worth trying, the library's first choice among them
_WIDER = (1, 2, 4)  # times the product's own columns


def ways(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False
) -> dict[str, Callable[[], Tensor]]:
    """x [M, K] @ weight [N, K] transposed (+ bias [N]) (through GELU's tanh form) → [M, N], by each algorithm.

    None for types of other than 16 bits, and without nvmath-python. Shapes are planned when they first come,
    which waits for the GPU: a step is run once before a CUDA graph of it is captured.
    """
    if not AVAILABLE or not x.is_cuda or x.dtype.itemsize != 2:
        return {}
    planned = _planned(x.device, x.dtype, x.shape, x.stride(), weight.shape, weight.stride(), bias is not None, gelu)
    return {name: partial(planned, algorithm, x, weight, bias) for name, algorithm in planned.algorithms.items()}


class _Planned:
    """One product's shapes and layouts, and algorithms for them by name."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> None:
        offers = {
            f"cuBLASLt {wider}.{number} {_told(algorithm)}": algorithm
            for wider in _WIDER
            for number, algorithm in enumerate(_offered(x, weight, bias, gelu, wider))
        }
        self._product = _matmul(x, weight)
        settled = self._product.plan(algorithms=list(offers.values()), **_epilogue(bias, gelu))
        self.algorithms = dict(zip(offers, settled, strict=True))
        self._product.release_operands()

    def __call__(self, algorithm: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """RuntimeError for an algorithm that these shapes cannot have."""
        operands = {} if bias is None else {"epilog_inputs": {"bias": bias[:, None]}}
        self._product.reset_operands_unchecked(a=weight, b=x.t(), **operands)
        try:
            out: Tensor = self._product.execute(algorithm=algorithm, release_workspace=True)
        except bindings.cublasLt.cuBLASLtError as error:
            raise RuntimeError(f"cuBLASLt: {error}") from error
        finally:
            self._product.release_operands()
        return out.t()


def _offered(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool, wider: int) -> Sequence[Any]:
    """What cuBLASLt offers for a product of so many times the columns; values do not matter, so memory is not set."""
    rows, depth = weight.shape[0] * wider, weight.shape[1]
    straight = weight.stride(1) == 1
    many = weight.new_empty(rows, depth) if straight else weight.new_empty(depth, rows).t()
    found = _matmul(x, many).plan(
        preferences={"limit": _OFFERED}, **_epilogue(None if bias is None else bias.new_empty(rows), gelu)
    )
    return tuple(found)


def _matmul(x: Tensor, weight: Tensor) -> Any:
    """The transposed product in column-major order: there a bias runs down the rows, as cuBLASLt wants it."""
    return advanced.Matmul(weight, x.t(), options={"memory_limit": _SCRATCH})


def _epilogue(bias: Tensor | None, gelu: bool) -> dict[str, Any]:
    if bias is None:
        return {}
    kind = advanced.MatmulEpilog.GELU_BIAS if gelu else advanced.MatmulEpilog.BIAS
    return {"epilog": kind, "epilog_inputs": {"bias": bias[:, None]}}


@cache
def _planned(
    device: torch.device,
    dtype: torch.dtype,
    x_shape: tuple[int, int],
    x_stride: tuple[int, int],
    weight_shape: tuple[int, int],
    weight_stride: tuple[int, int],
    biased: bool,
    gelu: bool,
) -> _Planned:
    """The plan of all products of these shapes; tensors of its own are let go after planning."""
    x = torch.empty_strided(x_shape, x_stride, dtype=dtype, device=device)
    weight = torch.empty_strided(weight_shape, weight_stride, dtype=dtype, device=device)
    bias = torch.empty(weight_shape[0], dtype=dtype, device=device) if biased else None
    return _Planned(x, weight, bias, gelu)


def _told(algorithm: Any) -> str:
    return f"tiles {algorithm.tile} clusters {algorithm.cluster_shape} parts {algorithm.split_k}"
