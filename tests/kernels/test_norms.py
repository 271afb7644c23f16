import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import norms, plain
from diffes.kernels.plain import Branch, LayerNorm, Norm
from tests.kernels.some import TOKENS, normal, step


def plainly(x: Tensor, gate: Tensor, offset: Tensor, product: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
    total = offset if product is None else offset + product
    return plain.gated_norm(x, gate, Branch(total), norm)


@pytest.mark.parametrize("width", [1, 24, 64, 96, 1152])
def test_a_modulated_norm_is_the_plain_one(width: int) -> None:
    x, _, norm = step(3, width)
    torch.testing.assert_close(norms.modulated_norm(x, norm), plain.modulated_norm(x, norm))


@pytest.mark.parametrize("width", [1, 20, 24, 64, 1152])
def test_a_gated_norm_adds_a_product_and_its_offset(width: int) -> None:
    x, gate, norm = step(3, width)
    product = normal(3 * TOKENS, width, seed=9)
    for offset in (normal(width), normal(3 * TOKENS, width)):
        torch.testing.assert_close(
            norms.gated_norm(x, gate, offset, product, norm), plainly(x, gate, offset, product, norm)
        )


def test_without_a_gate_a_branch_is_added_as_it_is() -> None:
    x, _, norm = step(3)
    weights = LayerNorm(normal(24, seed=4), normal(24, seed=5), 1e-5)
    scale, shift = (each.expand(3, 1, 24) for each in weights[:2])
    found = norms.gated_norm(x, None, normal(24), normal(3 * TOKENS, 24, seed=9), Norm(scale, shift, scale, 1e-5))
    expected = plain.summed_norm(x, Branch(normal(24) + normal(3 * TOKENS, 24, seed=9)), weights)
    torch.testing.assert_close(found, expected)


def test_a_skipped_half_adds_its_offset() -> None:
    x, gate, norm = step(3)
    for offset in (normal(24), normal(3 * TOKENS, 24)):
        torch.testing.assert_close(norms.gated_norm(x, gate, offset, None, norm), plainly(x, gate, offset, None, norm))


def test_what_lies_apart_in_memory_is_read_right() -> None:
    x, gate, norm = step(3)
    scattered = x.transpose(0, 1).contiguous().transpose(0, 1)
    apart = gate.transpose(1, 2).contiguous().transpose(1, 2).expand(3, 1, 24)
    one = norm.scale[:1].expand(3, 1, 24)  # of all rows the same, and so no distance between them
    norm = norm._replace(scale=one)
    torch.testing.assert_close(
        norms.gated_norm(scattered, apart, normal(24), None, norm), plainly(x, gate, normal(24), None, norm)
    )


def test_sums_are_in_float32_and_rounded_once() -> None:
    x, gate, norm = step(3, dtype=torch.float16)
    offset = normal(24, dtype=torch.float16)
    wide = Norm(norm.scale.float(), norm.shift.float(), norm.ones.float(), norm.eps)
    exact = plainly(x.float(), gate.float(), offset.float(), None, wide)
    for rounded, value in zip(norms.gated_norm(x, gate, offset, None, norm), exact, strict=True):
        assert rounded.dtype == torch.float16
        torch.testing.assert_close(rounded.float(), value, rtol=1.01 * 2**-11, atol=1e-6)


def test_a_row_is_the_same_alone_and_in_any_batch() -> None:
    x, gate, norm = step(7)
    product = normal(7 * TOKENS, 24, seed=9)
    together = norms.gated_norm(x, gate, normal(24), product, norm)
    for rows in (slice(0, 1), slice(3, 5)):
        tokens = slice(rows.start * TOKENS, rows.stop * TOKENS)
        own = norm._replace(scale=norm.scale[rows], shift=norm.shift[rows])
        alone = norms.gated_norm(x[rows], gate[rows], normal(24), product[tokens], own)
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one, all_[rows])


def test_no_rows_are_no_work() -> None:
    x, gate, norm = step(0)
    assert norms.modulated_norm(x, norm).shape == x.shape
    assert norms.gated_norm(x, gate, normal(24), None, norm)[0].shape == x.shape
