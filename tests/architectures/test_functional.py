import sys

import pytest
import torch
from torch.nn import functional as F

from diffes.architectures import functional
from diffes.architectures.functional import attend, gated_sum, modulated_norm
from diffes.errors import BackendError
from diffes.precision import tf32


def some() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 16, 8, generator=generator) for _ in range(3))


def test_on_a_cpu_nothing_is_rounded() -> None:
    queries, keys, values = some()
    with tf32():
        assert torch.equal(attend(queries, keys, values), F.scaled_dot_product_attention(queries, keys, values))


def test_where_products_round_to_tf32_ten_bits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = some()
    exact = attend(queries, keys, values)
    monkeypatch.setattr(functional, "rounds_to_tf32", lambda _: True)

    rounded = attend(queries, keys, values)

    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 4 * 2**-11


def test_norm_and_gate_are_what_they_say() -> None:
    x, scale, shift, ones = torch.randn(2, 5, 8), torch.randn(2, 1, 8), torch.randn(2, 1, 8), torch.ones(8)
    by_hand = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-3).sqrt()
    torch.testing.assert_close(modulated_norm(x, scale, shift, ones, 1e-3), by_hand * scale + shift)
    assert torch.equal(gated_sum(x, scale, ones), x + scale * ones)


def test_kernels_are_taken_only_where_products_round_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("diffes.architectures.kernels", reason="Triton is not made for this platform")
    taken: list[str] = []
    monkeypatch.setattr(kernels, "modulated_norm", lambda *_: taken.append("norm"))
    monkeypatch.setattr(kernels, "gated_sum", lambda *_: taken.append("gate"))
    x, gate, ones = torch.randn(2, 5, 8), torch.randn(2, 1, 8), torch.ones(8)

    gated_sum(x, gate, modulated_norm(x, gate, gate, ones, 1e-5))
    assert not taken

    monkeypatch.setattr(functional, "rounds_to_tf32", lambda _: True)
    gated_sum(x, gate, x)
    modulated_norm(x, gate, gate, ones, 1e-5)
    assert taken == ["gate", "norm"]


def test_a_gpu_without_triton_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "rounds_to_tf32", lambda _: True)
    monkeypatch.delattr("diffes.architectures.kernels", raising=False)
    monkeypatch.setitem(sys.modules, "diffes.architectures.kernels", None)
    x = torch.randn(2, 5, 8)
    with pytest.raises(BackendError, match="triton"):
        gated_sum(x, x, x)
