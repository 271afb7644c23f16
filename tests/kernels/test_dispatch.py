import sys

import pytest
import torch
from torch.nn import functional as F

from diffes import kernels
from diffes.errors import BackendError
from diffes.kernels import plain
from diffes.kernels.plain import Branch
from diffes.precision import tf32
from tests.kernels.some import TOKENS, normal, step


def test_on_a_cpu_nothing_is_rounded() -> None:
    x = normal(4, 24).cpu()
    with tf32():
        assert not kernels.is_fast(x)
        assert not kernels.is_fast(x.bfloat16())


def test_what_torch_compiles_is_the_plain_operators_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_fast", lambda _: True)
    compiled = torch.compile(kernels.linear, fullgraph=True, backend="eager")
    x, weight, bias = normal(4, 8), normal(6, 8, seed=1), normal(6, seed=2)
    torch.testing.assert_close(compiled(x, weight, bias), plain.linear(x, weight, bias))


def test_a_branch_is_its_product_and_offset() -> None:
    x, gate, norm = step(2)
    inputs, weight, bias = normal(2 * TOKENS, 8), normal(8, 24, seed=1), normal(24, seed=2)
    added, normed = plain.gated_norm(x, gate, Branch(bias, inputs, weight), norm)
    torch.testing.assert_close(added, x + gate * (inputs @ weight + bias).view(x.shape))
    torch.testing.assert_close(normed, F.layer_norm(added, (24,), eps=norm.eps) * norm.scale + norm.shift)
    torch.testing.assert_close(plain.gated_norm(x, gate, Branch(bias), norm)[0], x + gate * bias)


def test_a_gpu_without_triton_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_fast", lambda _: True)
    monkeypatch.delattr("diffes.kernels.cuda", raising=False)
    monkeypatch.setitem(sys.modules, "diffes.kernels.cuda", None)
    with pytest.raises(BackendError, match="triton"):
        kernels.modulated_norm(*step(2)[::2])
