import pytest
import torch
from torch.nn import functional as F

from diffes.architectures import attention
from diffes.architectures.attention import attend
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
    monkeypatch.setattr(attention, "rounds_to_tf32", lambda _: True)

    rounded = attend(queries, keys, values)

    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 4 * 2**-11
