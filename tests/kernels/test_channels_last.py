import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.kernels import channels_last
from diffes.kernels.channels_last import biased_sum, doubled, group_norm
from diffes.kernels.plain import GroupNorm
from tests.kernels.some import DEVICE, normal


def norm(channels: int, groups: int, dtype: torch.dtype = torch.float32) -> GroupNorm:
    return GroupNorm(normal(channels, seed=1, dtype=dtype), normal(channels, seed=2, dtype=dtype), groups, 1e-6)


def activations(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Not centred, and of some channels more than of others."""
    return normal(*shape, dtype=dtype) * 3 + normal(shape[1], 1, 1, seed=5, dtype=dtype)


def plainly(x: Tensor, its: GroupNorm) -> Tensor:
    """In float64: torch's own norm in float32 loses digits where the values of a group are nearly one."""
    return F.silu(F.group_norm(x.double(), its.groups, its.weight.double(), its.bias.double(), its.eps)).float()


@pytest.mark.parametrize(("channels", "groups"), [(4, 4), (8, 2), (24, 3), (128, 32), (512, 32)])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_norm_through_silu_is_torchs(channels: int, groups: int, size: int) -> None:
    x, its = activations(3, channels, size, size), norm(channels, groups)
    torch.testing.assert_close(group_norm(x, its, silu=True), plainly(x, its))


def test_without_silu_it_is_the_norm_alone() -> None:
    x, its = activations(2, 24, 5, 3), norm(24, 3)
    expected = F.group_norm(x.double(), 3, its.weight.double(), its.bias.double(), its.eps).float()
    torch.testing.assert_close(group_norm(x, its), expected)


def test_a_bias_may_be_every_images_own() -> None:
    x, bias = activations(3, 8, 4, 4), normal(3, 16, seed=7)[:, 4:12]  # cut from a condition, whose rows lie apart
    torch.testing.assert_close(biased_sum(x, bias, x), 2 * x + bias[:, :, None, None])


@pytest.mark.parametrize("runs", [1, 4, 16])
def test_runs_of_pixels_are_added_up_in_turns(monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    monkeypatch.setattr(channels_last, "_TILE", 16)
    monkeypatch.setattr(channels_last, "_RUNS", runs)
    monkeypatch.setattr(channels_last, "_ADDED", 8)
    x, its = activations(2, 8, 7, 9), norm(8, 2)  # 63 pixels in tiles of 2, the last one half full
    torch.testing.assert_close(group_norm(x, its, silu=True), plainly(x, its))


def test_a_mean_far_from_0_costs_no_digits() -> None:
    x, its = normal(1, 8, 16, 16) + 10_000, norm(8, 2)
    torch.testing.assert_close(group_norm(x, its, silu=True), plainly(x, its), rtol=1e-3, atol=2e-3)


def test_results_lie_channels_last_whatever_inputs_do() -> None:
    x, its = activations(2, 8, 4, 4), norm(8, 2)
    for given in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        for found, expected in (
            (group_norm(given, its, silu=True), plainly(x, its)),
            (biased_sum(given, its.bias, given), 2 * x + its.bias.view(-1, 1, 1)),
            (doubled(given), F.interpolate(x, scale_factor=2.0)),
        ):
            assert found.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found, expected)


def test_everything_is_calculated_in_float32_and_rounded_once() -> None:
    x, its = activations(2, 8, 8, 8, dtype=torch.float16), norm(8, 2, torch.float16)
    found = group_norm(x, its, silu=True)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), plainly(x, its), rtol=1.01 * 2**-11, atol=1e-6)
    added = x.double() + its.bias.double().view(-1, 1, 1) + x.flip(0).double()
    torch.testing.assert_close(biased_sum(x, its.bias, x.flip(0)).double(), added, rtol=1.01 * 2**-11, atol=1e-6)


def test_an_image_is_the_same_alone_and_in_any_batch() -> None:
    x, its = activations(5, 8, 8, 8), norm(8, 2)
    together = group_norm(x, its, silu=True)
    for rows in (slice(0, 1), slice(2, 4)):
        assert torch.equal(group_norm(x[rows], its, silu=True), together[rows])


@pytest.mark.parametrize("channels", [3, 8, 24])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 20)])
def test_sums_and_doublings_are_exact(channels: int, size: tuple[int, int]) -> None:
    x, skip, bias = normal(2, channels, *size), normal(2, channels, *size, seed=1), normal(channels, seed=2)
    torch.testing.assert_close(biased_sum(x, bias), x + bias.view(-1, 1, 1))
    torch.testing.assert_close(biased_sum(x, bias, skip), x + bias.view(-1, 1, 1) + skip)
    assert torch.equal(doubled(x), F.interpolate(x, scale_factor=2.0))


def test_no_images_are_no_work() -> None:
    nothing = torch.empty(0, 8, 4, 4, device=DEVICE)
    assert group_norm(nothing, norm(8, 2), silu=True).shape == nothing.shape
    assert biased_sum(nothing, normal(8)).shape == nothing.shape
    assert doubled(nothing).shape == (0, 8, 8, 8)
