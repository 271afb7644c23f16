"""Which algorithms there are is seen where there is a GPU and nvmath-python; elsewhere that none is offered."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import plain, products
from tests.kernels.some import DEVICE, normal


def test_without_a_gpu_there_is_the_library_alone() -> None:
    x, weight = torch.zeros(16, 16, dtype=torch.float16), torch.zeros(16, 16, dtype=torch.float16)
    assert products.ways(x, weight, torch.zeros(16, dtype=torch.float16)) == {}


@pytest.mark.skipif(DEVICE == "cpu" or not products.AVAILABLE, reason="needs a GPU and nvmath-python")
@pytest.mark.parametrize("gelu", [False, True])
def test_every_algorithm_gives_the_plain_product(gelu: bool) -> None:
    x, weight = normal(512, 1152, dtype=torch.bfloat16), normal(2304, 1152, seed=1, dtype=torch.bfloat16)
    bias = normal(2304, seed=2, dtype=torch.bfloat16)
    found = products.ways(x, weight, bias, gelu=gelu)
    assert len(found) > 1
    expected = (plain.gelu_linear if gelu else plain.linear)(x.float(), weight.float(), bias.float())
    for way in found.values():
        out = way()
        assert out.is_contiguous()
        torch.testing.assert_close(out.float(), expected, rtol=2**-7, atol=2**-3)
