import numpy as np
import pytest
import torch

from diffes.pruning.moments import LayerMoments, MomentAccumulator, Moments, weighted_average

ROWS = torch.randn(10_000, 6, generator=torch.Generator().manual_seed(0)) @ torch.randn(
    6, 6, generator=torch.Generator().manual_seed(1)
) + torch.arange(6)


def moments_of(rows: torch.Tensor, share: float = 1.0, seed: int = 0) -> Moments:
    taps = MomentAccumulator(share, seed)
    for piece in rows.split(997):
        taps("layer", piece)
    return taps.moments()


def covariance(moments: Moments) -> torch.Tensor:
    return LayerMoments(moments.mean["layer"], moments.second["layer"], 6).covariance


def test_moments_are_those_of_numpy() -> None:
    found, rows = moments_of(ROWS), ROWS.double().numpy()
    assert found.rows == len(rows)
    np.testing.assert_allclose(found.mean["layer"], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.second["layer"], rows.T @ rows / len(rows), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(covariance(found), np.cov(rows.T, bias=True), rtol=1e-4, atol=1e-4)


def test_sums_over_many_rows_keep_their_digits() -> None:
    rows = torch.full((200_000, 1), 0.1)
    assert float(moments_of(rows).second["layer"]) == pytest.approx(0.01, rel=1e-4)  # one float32 sum is off by 1e-2


def test_half_precision_inputs_are_summed_in_full_precision() -> None:
    found = moments_of(torch.full((5000, 2), 300.0, dtype=torch.float16))
    assert found.second["layer"].dtype == torch.float64
    torch.testing.assert_close(found.second["layer"], torch.full((2, 2), 90_000.0, dtype=torch.float64))


def test_layers_are_kept_apart() -> None:
    taps = MomentAccumulator()
    taps("a", torch.ones(3, 2))
    taps("b", torch.zeros(3, 4))
    found = taps.moments()
    assert found.mean["a"].tolist() == [1, 1]
    assert found.mean["b"].tolist() == [0] * 4


def test_a_share_of_the_rows_tells_nearly_the_same_and_is_seeded() -> None:
    whole, some, again, other = (
        moments_of(ROWS, share, seed) for share, seed in ((1, 0), (0.25, 0), (0.25, 0), (0.25, 1))
    )
    assert some.rows == pytest.approx(len(ROWS) / 4, rel=0.01)
    assert torch.equal(some.second["layer"], again.second["layer"])
    assert not torch.equal(some.second["layer"], other.second["layer"])
    error = (some.mean["layer"] - whole.mean["layer"]) / covariance(whole).diagonal().sqrt()
    assert error.abs().max() < 4 / 2500**0.5  # four standard errors of 2500 rows


def test_a_share_of_few_rows_keeps_at_least_one() -> None:
    taps = MomentAccumulator(0.01)
    taps("layer", torch.ones(3, 2))
    assert taps.moments().rows == 1


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_what_is_seen_together_is_counted_together(share: float) -> None:
    taps, joint = MomentAccumulator(share), MomentAccumulator(share)
    taps("layer", ROWS[:, :4], ROWS[:, 4:])
    joint("layer", ROWS)
    assert torch.equal(taps.moments().second["layer"], joint.moments().second["layer"])
    assert torch.equal(taps.moments().mean["layer"], joint.moments().mean["layer"])


def test_a_weighted_average_is_the_mixture() -> None:
    first, second = moments_of(ROWS[:3000]), moments_of(ROWS[3000:])
    mixed, whole = weighted_average([first, second], [3, 7]), moments_of(ROWS)
    torch.testing.assert_close(mixed.mean["layer"], whole.mean["layer"])
    torch.testing.assert_close(mixed.second["layer"], whole.second["layer"], rtol=1e-5, atol=1e-5)
    assert mixed.rows == 10_000
    alone = weighted_average([first, second], [2, 0])
    torch.testing.assert_close(alone.second["layer"], first.second["layer"])
