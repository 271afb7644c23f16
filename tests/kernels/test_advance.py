from math import inf

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes import kernels
from diffes.kernels import advance, plain
from tests.kernels.some import normal


def step(rows: int, size: tuple[int, int], *, guided: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients cut from a wider table as the engine's are, latents, output and the x0 before."""
    coefficients = normal(rows, 8, seed=1)[:, 1:]
    return (
        coefficients,
        normal(rows, 4, *size),
        normal(rows * (1 + guided), 4, *size, seed=2),
        normal(rows, 4, *size, seed=3),
    )


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("clip", [1.0, inf])
@pytest.mark.parametrize("size", [(2, 3), (32, 32)])
def test_it_is_the_plain_one(size: tuple[int, int], clip: float, guided: bool) -> None:
    coefficients, x, out, before = step(5, size, guided=guided)
    found = advance.guided_advance(coefficients, clip, x, out, before, guided=guided)
    expected = plain.guided_advance(coefficients, clip, x, out, before, guided=guided)
    torch.testing.assert_close(found.latents, expected.latents)
    torch.testing.assert_close(found.clean, expected.clean)
    assert found.finite.all()
    assert found.finite.dtype == torch.bool


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy's, in which Triton interprets
@pytest.mark.parametrize("bad", [inf, -inf, float("nan")])
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("guided", [True, False])
def test_a_row_that_is_not_finite_is_told_of_and_no_other(guided: bool, place: int, bad: float) -> None:
    coefficients, x, out, before = step(3, (32, 33), guided=guided)  # more than two programs a row
    out[1].view(-1)[place] = bad
    for way in (advance, plain, kernels):
        found = way.guided_advance(coefficients, inf, x, out, before, guided=guided)
        assert found.finite.all(1).tolist() == [True, False, True]


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_an_unconditional_row_counts_too() -> None:
    coefficients, x, out, before = step(2, (4, 4), guided=True)
    out[3, 0, 0, 0] = inf
    assert advance.guided_advance(coefficients, inf, x, out, before, guided=True).finite.tolist() == [[True], [False]]


def test_an_image_is_the_same_alone_and_in_any_batch() -> None:
    coefficients, x, out, before = step(4, (32, 32), guided=True)
    together = advance.guided_advance(coefficients, inf, x, out, before, guided=True)
    rows = slice(2, 3)
    both = torch.cat([out[rows], out[4:][rows]])
    alone = advance.guided_advance(coefficients[rows], inf, x[rows], both, before[rows], guided=True)
    assert torch.equal(alone.latents, together.latents[rows])
    assert torch.equal(alone.clean, together.clean[rows])
