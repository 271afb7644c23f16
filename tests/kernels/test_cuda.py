"""The ways of cuda.py, each against the plain operator. Library ways that only a GPU has are left out on a CPU."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import cuda, plain
from diffes.kernels.plain import Branch, Norm
from tests.kernels.some import DEVICE, TOKENS, normal, step

HALF = torch.float16
ONLY_A_GPU_HAS = ("cudnn_attention", "flash_attention", "efficient_attention")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    """What an operator could have done, by name, after it was called."""
    seen: dict[str, Callable[[], Any]] = {}

    def remember(_what: str, candidates: Mapping[str, Callable[[], Any]]) -> Any:
        seen.update(candidates)
        return next(iter(candidates.values()))()

    monkeypatch.setattr(cuda, "fastest", remember)
    monkeypatch.setattr(cuda, "_ATTENTION_TILES", ((32, 16, 4),))
    return seen


def all_agree(ways: Mapping[str, Callable[[], Any]], expected: Any, count: int) -> None:
    tried = [way for name, way in ways.items() if DEVICE != "cpu" or name not in ONLY_A_GPU_HAS]
    assert len(tried) >= count
    for way in tried:
        agree((way(),), (expected,))


def agree(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=2**-8, atol=2**-7)


def wide(norm: Norm) -> Norm:
    return Norm(norm.scale.float(), norm.shift.float(), norm.ones.float(), norm.eps)


def layer(columns: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    return normal(20, 32, dtype=HALF), normal(columns, 32, seed=1, dtype=HALF), normal(columns, seed=2, dtype=HALF)


def test_every_linear_is_the_plain_one(ways: dict[str, Callable[[], Any]]) -> None:
    x, weight, bias = layer()
    cuda.linear(x, weight, bias)
    all_agree(ways, plain.linear(x.float(), weight.float(), bias.float()), 1)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the interpreter; exp of it is 1 / inf
def test_every_gelu_linear_is_the_plain_one(ways: dict[str, Callable[[], Any]]) -> None:
    x, weight, bias = layer()
    cuda.gelu_linear(x, weight, bias)
    all_agree(ways, plain.gelu_linear(x.float(), weight.float(), bias.float()), 2)


def test_a_gated_norm_is_the_plain_one_whichever_product_it_reads(ways: dict[str, Callable[[], Any]]) -> None:
    x, gate, norm = step(3, dtype=HALF)
    inputs, weight = normal(3 * TOKENS, 32, dtype=HALF), normal(32, 24, seed=1, dtype=HALF)
    for offset in (normal(24, dtype=HALF), normal(3 * TOKENS, 24, dtype=HALF)):
        found = cuda.gated_norm(x, gate, Branch(offset, inputs, weight), norm)
        branch = Branch(offset.float(), inputs.float(), weight.float())
        agree(found, plain.gated_norm(x.float(), gate.float(), branch, wide(norm)))
        all_agree(ways, inputs.float() @ weight.float(), 1)


def test_a_skipped_half_leaves_no_choice(ways: dict[str, Callable[[], Any]]) -> None:
    x, gate, norm = step(3, dtype=HALF)
    bias = normal(24, dtype=HALF)
    found = cuda.gated_norm(x, gate, Branch(bias), norm)
    assert not ways
    agree(found, plain.gated_norm(x.float(), gate.float(), Branch(bias.float()), wide(norm)))


def test_every_attention_is_the_plain_one(ways: dict[str, Callable[[], Any]]) -> None:
    qkv = normal(2 * 16, 3 * 3 * 24, dtype=HALF)
    cuda.self_attention(qkv, (2, 16), 24)
    all_agree(ways, plain.self_attention(qkv.float(), (2, 16), 24), 2)


def test_float32_is_left_to_the_library_and_rounded_to_ten_bits_in_attention_alone(
    ways: dict[str, Callable[[], Any]],
) -> None:
    x, weight, bias = (tensor.float() for tensor in layer())
    torch.testing.assert_close(cuda.linear(x, weight, bias), plain.linear(x, weight, bias))
    assert list(ways) == ["library"]
    qkv = normal(2 * 16, 3 * 3 * 24)
    exact, rounded = plain.self_attention(qkv, (2, 16), 24), cuda.self_attention(qkv, (2, 16), 24)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 4 * 2**-11
