import pytest
import torch

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import attention, plain
from tests.kernels.some import normal


@pytest.mark.parametrize("head_dim", [16, 24, 64, 72])
@pytest.mark.parametrize("tokens", [16, 50])
def test_attention_is_that_of_torch_for_heads_and_tokens_of_any_number(head_dim: int, tokens: int) -> None:
    qkv = normal(2 * tokens, 3 * 3 * head_dim, dtype=torch.float16)
    expected = plain.self_attention(qkv.float(), (2, tokens), head_dim)
    found = attention.self_attention(qkv, (2, tokens), head_dim, tile=(32, 16, 4))
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=2**-9)


def test_images_do_not_see_each_other() -> None:
    qkv = normal(3 * 20, 3 * 2 * 24, dtype=torch.float16)
    together = attention.self_attention(qkv, (3, 20), 24, tile=(16, 16, 4))
    alone = attention.self_attention(qkv[20:40], (1, 20), 24, tile=(16, 16, 4))
    assert torch.equal(together[20:40], alone)


@pytest.mark.parametrize("head_dim", [16, 24, 72])
def test_a_bias_may_be_added_late(head_dim: int) -> None:
    qkv = normal(2 * 20, 3 * 2 * head_dim, dtype=torch.float16)
    bias = normal(3 * 2 * head_dim, seed=1, dtype=torch.float16)
    expected = plain.self_attention((qkv + bias).float(), (2, 20), head_dim)
    found = torch.empty(40, 2 * head_dim, dtype=torch.float16, device=qkv.device)
    attention.self_attention(qkv, (2, 20), head_dim, tile=(16, 16, 4), bias=bias, into=found)
    torch.testing.assert_close(found.float(), expected, rtol=2**-7, atol=2**-8)
