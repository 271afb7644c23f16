import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import group_norms, plain
from diffes.kernels.group_norms import group_norm_silu
from diffes.kernels.plain import GroupNorm
from tests.kernels.some import DEVICE, normal


def norm(channels: int, groups: int, dtype: torch.dtype = torch.float32) -> GroupNorm:
    return GroupNorm(groups, normal(channels, seed=1, dtype=dtype), normal(channels, seed=2, dtype=dtype), 1e-6)


def activations(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Not centred, and of some channels more than of others."""
    return normal(*shape, dtype=dtype) * 3 + normal(shape[1], 1, 1, seed=5, dtype=dtype)


def plainly(x: Tensor, its: GroupNorm) -> Tensor:
    """In float64: torch's own norm in float32 loses digits where the values of a group are nearly one."""
    exact = GroupNorm(its.groups, its.weight.double(), its.bias.double(), its.eps)
    return plain.group_norm_silu(x.double(), exact).float()


@pytest.mark.parametrize(("channels", "groups"), [(4, 4), (8, 2), (24, 3), (128, 32), (512, 32)])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_it_is_the_plain_one(channels: int, groups: int, size: int) -> None:
    x, its = activations(3, channels, size, size), norm(channels, groups)
    torch.testing.assert_close(group_norm_silu(x, its), plainly(x, its))


def test_runs_of_pixels_are_added_up_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_norms, "_TILE", 16)
    monkeypatch.setattr(group_norms, "_RUNS", 8)
    x, its = activations(2, 8, 7, 9), norm(8, 2)  # 63 pixels in runs of 2, the last one half full
    torch.testing.assert_close(group_norm_silu(x, its), plainly(x, its))


def test_a_mean_far_from_0_costs_no_digits() -> None:
    x, its = normal(1, 8, 16, 16) + 10_000, norm(8, 2)
    torch.testing.assert_close(group_norm_silu(x, its), plainly(x, its), rtol=1e-3, atol=2e-3)


def test_the_result_lies_channels_last_whatever_the_input_does() -> None:
    x, its = activations(2, 8, 4, 4), norm(8, 2)
    for given in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        found = group_norm_silu(given, its)
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found, plainly(x, its))


def test_sums_are_in_float32_and_rounded_once() -> None:
    x, its = activations(2, 8, 8, 8, dtype=torch.float16), norm(8, 2, torch.float16)
    found = group_norm_silu(x, its)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), plainly(x, its), rtol=1.01 * 2**-11, atol=1e-6)


def test_an_image_is_the_same_alone_and_in_any_batch() -> None:
    x, its = activations(5, 8, 8, 8), norm(8, 2)
    together = group_norm_silu(x, its)
    for rows in (slice(0, 1), slice(2, 4)):
        assert torch.equal(group_norm_silu(x[rows], its), together[rows])


def test_no_images_are_no_work() -> None:
    assert group_norm_silu(torch.empty(0, 8, 4, 4, device=DEVICE), norm(8, 2)).shape == (0, 8, 4, 4)
