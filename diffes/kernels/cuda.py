"""The operators of a step on a GPU: library products where they are fastest, our kernels between and around them.

Candidates' names are remembered from process to process (choice.py).
"""

from collections.abc import Callable
from functools import cache, partial
from math import inf

import torch
import triton
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from triton.runtime.errors import OutOfResources

from diffes.files import cache_folder
from diffes.kernels import attention, channels_last, gating, norms, plain, products
from diffes.kernels.choice import Choices, fastest
from diffes.kernels.plain import Branch, GroupNorm, LayerNorm, Norm

_LIBRARY = "library"
_CALLS, _REPLAYS = 10, 5  # of a candidate that is measured: calls in a graph, and how often that is replayed
_LIBRARY_ATTENTION = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
_ATTENTION_TILES = (
    (128, 64, 4),
    (128, 128, 8),
    (64, 64, 4),
    (64, 128, 4),
    (32, 64, 2),
    (32, 128, 4),
)  # queries, keys, warps

modulated_norm = norms.modulated_norm
group_norm = channels_last.group_norm
doubled = channels_last.doubled
convolved = channels_last.convolved


def gated_norm(x: Tensor, gate: Tensor, branch: Branch, norm: Norm) -> tuple[Tensor, Tensor]:
    """plain.gated_norm: a product, and one kernel for all that follows it."""
    return norms.gated_norm(x, gate, branch.offset, _product(branch), norm)


def layer_norm(x: Tensor, norm: LayerNorm) -> Tensor:
    """plain.layer_norm."""
    return norms.modulated_norm(x, _for_all(x, norm))


def summed_norm(x: Tensor, branch: Branch, norm: LayerNorm) -> tuple[Tensor, Tensor]:
    """plain.summed_norm: a product, and one kernel for all that follows it."""
    return norms.gated_norm(x, None, branch.offset, _product(branch), _for_all(x, norm))


def _product(branch: Branch) -> Tensor | None:
    _, inputs, weight = branch
    if inputs is None or weight is None:
        return None
    ways = {_LIBRARY: lambda: inputs @ weight, **products.ways(inputs, weight.t())}
    return fastest(_name("product", inputs, weight.shape[1]), ways)


def _for_all(x: Tensor, norm: LayerNorm) -> Norm:
    """The weights as every image's scale and shift."""
    scale, shift = (weights.expand(len(x), 1, -1) for weights in (norm.weight, norm.bias))
    return Norm(scale, shift, norm.weight, norm.eps)


def group_norm_silu(x: Tensor, norm: GroupNorm) -> Tensor:
    """plain.group_norm_silu."""
    return channels_last.group_norm(x, norm, silu=True)


def gated_gelu_linear(x: Tensor, hidden: tuple[Tensor, Tensor], gate: tuple[Tensor, Tensor]) -> Tensor:
    """plain.gated_gelu_linear: two products, and one kernel for what follows them."""
    return gating.gated_gelu(linear(x, *hidden), linear(x, *gate))


cross_attention = plain.cross_attention  # over few keys: the library's is as fast as memory


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """plain.linear."""
    ways = {
        _LIBRARY: lambda: F.linear(x, weight, bias),
        **products.ways(x, weight, bias),
    }
    return fastest(_name("linear", x, len(weight)), ways)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """plain.gelu_linear."""
    ways = {
        _LIBRARY: lambda: plain.gelu_linear(x, weight, bias),
        "library, fused": lambda: torch._addmm_activation(bias, x, weight.t(), use_gelu=True),
        **products.ways(x, weight, bias, gelu=True),
    }
    return fastest(_name("gelu_linear", x, len(weight)), ways)


def self_attention(qkv: Tensor, images: tuple[int, int], head_dim: int) -> Tensor:
    """plain.self_attention; what rounds to TF32 in float16.

    float16 keeps TF32's ten bits, but its range is smaller: numbers beyond 65,504 become infinite, which a rollout
    reports.
    """
    if qkv.dtype == torch.float32:
        return plain.self_attention(qkv.half(), images, head_dim).float()

    def by_library(backend: SDPBackend) -> Tensor:
        with sdpa_kernel(backend):
            return plain.self_attention(qkv, images, head_dim)

    ways: dict[str, Callable[[], Tensor]] = {_LIBRARY: lambda: plain.self_attention(qkv, images, head_dim)}
    ways |= {backend.name.lower(): partial(by_library, backend) for backend in _LIBRARY_ATTENTION}
    for tile in _ATTENTION_TILES:
        ways["{}x{} {} warps".format(*tile)] = partial(attention.self_attention, qkv, images, head_dim, tile=tile)
    return fastest(_name("self_attention", qkv, images[1]), ways)


def _name(operator: str, x: Tensor, columns: int) -> str:
    rows, depth = x.shape
    return f"{operator} {rows}x{columns}x{depth} {str(x.dtype).removeprefix('torch.')}"


@cache
def choices_of(device: torch.device) -> Choices:
    """What is known of this kind of GPU under these versions, in the user's cache folder; one object a process."""
    name = f"{torch.cuda.get_device_name(device)} torch {torch.__version__} triton {triton.__version__}"
    slug = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in name)
    return Choices(cache_folder() / "kernels" / f"{slug}.json", _clock)


def _clock(run: Callable[[], object]) -> float:
    """Milliseconds a call takes among others of its kind in a CUDA graph; never for what this GPU cannot do."""
    try:
        run()  # compiled here
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(_CALLS):
                run()
        graph.replay()
        return min(_replayed(graph) for _ in range(_REPLAYS)) / _CALLS
    except (RuntimeError, OutOfResources):
        return inf


def _replayed(graph: torch.cuda.CUDAGraph) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))
