import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels.products import Tiling, describable, product, tilings
from tests.kernels.some import normal

HALF = torch.float16
SMALL = Tiling(16, 32, 16, 1, 4, 2)
KEPT = Tiling(16, 32, 16, 1, 4, 2, programs=2)
BOTH = pytest.mark.parametrize("tiling", [SMALL, KEPT], ids=["a program a tile", "programs that stay"])


def split(parts: int, programs: int = 0) -> Tiling:
    return Tiling(16, 32, 16, parts, 4, 2, programs)


@BOTH
@pytest.mark.parametrize("shape", [(16, 32, 16), (37, 56, 72), (5, 8, 104), (64, 96, 8)])  # descriptors ask for 8s
@pytest.mark.parametrize("stored", ["in x out", "out x in"])
def test_a_product_is_that_of_matrices_of_any_size_in_either_layout(
    shape: tuple[int, int, int], stored: str, tiling: Tiling
) -> None:
    rows, columns, depth = shape
    x, weight = normal(rows, depth, dtype=HALF), normal(depth, columns, seed=1, dtype=HALF)
    given = weight if stored == "in x out" else weight.t().contiguous().t()
    (found,) = product(x, given, None, tiling)
    torch.testing.assert_close(found.float(), x.float() @ weight.float(), rtol=2**-10, atol=2**-10)


@pytest.mark.parametrize("programs", [0, 2, 3])
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_add_up_to_the_product(parts: int, programs: int) -> None:
    x, weight = normal(37, 72, dtype=HALF), normal(72, 56, seed=1, dtype=HALF)
    found = product(x, weight, None, split(parts, programs))
    assert found.shape == (parts, 37, 56)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(0), x.float() @ weight.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the interpreter; exp of it is 1 / inf
@BOTH
def test_bias_and_gelu_are_added_before_rounding(tiling: Tiling) -> None:
    x, weight, bias = normal(20, 48, dtype=HALF), normal(48, 40, seed=1, dtype=HALF), normal(40, seed=2, dtype=HALF)
    exact = F.linear(x.float(), weight.t().float(), bias.float())
    for gelu, expected in ((False, exact), (True, F.gelu(exact, approximate="tanh"))):
        (found,) = product(x, weight, bias, tiling, gelu=gelu)
        torch.testing.assert_close(found.float(), expected, rtol=2**-10, atol=2**-9)


@BOTH
def test_a_prefix_of_a_stored_matrix_is_read_where_it_lies_and_not_beyond(tiling: Tiling) -> None:
    x, stored = normal(20, 24, dtype=HALF), normal(64, 40, seed=1, dtype=HALF)
    stored[24:] = float("nan")
    assert torch.equal(product(x, stored[:24], None, tiling), product(x, stored[:24].clone(), None, tiling))


def test_bias_and_gelu_of_parts_are_refused() -> None:
    x, weight = normal(20, 48, dtype=HALF), normal(48, 40, dtype=HALF)
    for wrong in ({"bias": normal(40), "gelu": False}, {"bias": None, "gelu": True}):
        with pytest.raises(ValueError, match="one part, found 2"):
            product(x, weight, tiling=split(2), **wrong)


@pytest.mark.parametrize(
    "shape", [(512, 1152, 4608), (512, 1152, 320), (16384, 3456, 1152), (1, 8, 8), (512, 1152, 72)]
)
def test_parts_are_tried_only_where_tiles_are_few_and_none_is_empty(shape: tuple[int, int, int]) -> None:
    found = tilings(shape, processors=132, split=True)
    for tiling in found:
        tiles = -(-shape[0] // tiling.rows) * -(-shape[1] // tiling.columns)
        assert tiling.parts == 1 or tiles * tiling.parts <= 2 * 132
        steps = -(-shape[2] // tiling.depth)
        assert -(-steps // tiling.parts) * (tiling.parts - 1) < steps
    assert {tiling.parts for tiling in tilings(shape, 132, split=False)} == {1}
    assert len({str(tiling) for tiling in found}) == len(found)


def test_descriptors_are_tried_only_of_matrices_as_large_as_a_tile() -> None:
    for shape in ((512, 16, 1152), (512, 1152, 16)):
        assert {tiling.programs for tiling in tilings(shape, 132, split=True)} == {0}
    assert any(tiling.programs for tiling in tilings((512, 1152, 576), 132, split=True))


def test_descriptors_need_rows_and_starts_at_multiples_of_16_bytes() -> None:
    whole = normal(32, 48, dtype=HALF)
    assert describable(whole, whole.t(), whole[:20])
    assert not describable(whole, whole[:, 1:])
    assert not describable(normal(32, 50, dtype=HALF))
