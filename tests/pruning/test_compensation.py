import numpy as np
import pytest
import torch
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from diffes.pruning.compensation import LayerCompensation, LowRankCompensation
from diffes.pruning.moments import LayerMoments, MomentAccumulator
from diffes.pruning.ordering import apply_ordering

DAMPING = 1e-2
GENERATOR = torch.Generator().manual_seed(0)
ENTRY = torch.randn(400, 7, generator=GENERATOR) + 1.0
INPUTS = torch.tanh(ENTRY @ torch.randn(7, 10, generator=GENERATOR)) @ torch.randn(10, 10, generator=GENERATOR) + 2.0
PROJECTION = torch.randn(10, 6, generator=GENERATOR)
BIAS = torch.randn(6, generator=GENERATOR)


def layer_moments(inputs: Tensor = INPUTS, entry: Tensor = ENTRY) -> LayerMoments:
    rows = torch.cat([inputs, entry], 1).double()
    return LayerMoments(rows.mean(0), rows.T @ rows / len(rows), inputs.shape[1])


@pytest.fixture
def layer() -> LayerCompensation:
    return LayerCompensation(PROJECTION, BIAS, layer_moments(), DAMPING)


def low_rank(rank: int, damping: float = 1e-9) -> LowRankCompensation:
    return LowRankCompensation(PROJECTION, BIAS, layer_moments(), damping, rank)


def factored(factors: LowRankCompensation, kept: int) -> Tensor:
    right, bias = factors.right(kept)
    return INPUTS[:, :kept] @ PROJECTION[:kept] + ENTRY @ factors.left @ right + bias


def outputs(weight: Tensor | None, bias: Tensor, kept: int) -> Tensor:
    weight = PROJECTION[:kept] if weight is None else weight
    return INPUTS[:, :kept] @ weight + bias


def error(approximation: Tensor) -> float:
    return float((approximation - (INPUTS @ PROJECTION + BIAS)).square().mean())


@pytest.mark.parametrize("kept", [1, 4, 9, 10])
def test_full_is_ridge_regression_of_what_is_lost(layer: LayerCompensation, kept: int) -> None:
    rows = INPUTS.double().numpy()
    target = (rows @ PROJECTION.double().numpy() + BIAS.double().numpy()) - rows[:, :kept] @ PROJECTION[
        :kept
    ].double().numpy()
    centred, goal = rows[:, :kept] - rows[:, :kept].mean(0), target - target.mean(0)
    ridge = DAMPING * rows.var(0).mean() * len(rows)
    # the ridge as rows of its own below the data: min |X g - y|² + ridge |g|²
    stacked = np.vstack([centred, np.sqrt(ridge) * np.eye(kept)])
    gained = np.linalg.lstsq(stacked, np.vstack([goal, np.zeros((kept, 6))]), rcond=None)[0]
    bias = target.mean(0) - rows[:, :kept].mean(0) @ gained
    weight, found_bias = layer.full(kept)
    np.testing.assert_allclose(weight.numpy(), PROJECTION[:kept].numpy() + gained, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found_bias.numpy(), bias, rtol=1e-4, atol=1e-4)


def test_the_bias_adds_what_the_removed_inputs_gave_on_average(layer: LayerCompensation) -> None:
    expected = BIAS + INPUTS[:, 4:].mean(0) @ PROJECTION[4:]
    torch.testing.assert_close(layer.bias_only(4), expected, rtol=1e-4, atol=1e-4)
    lost = outputs(None, layer.bias_only(4), 4) - (INPUTS @ PROJECTION + BIAS)
    torch.testing.assert_close(lost.mean(0), torch.zeros(6), rtol=0, atol=1e-4)


def test_keeping_all_gives_the_original(layer: LayerCompensation) -> None:
    weight, bias = layer.full(10)
    assert torch.equal(weight, PROJECTION)
    assert torch.equal(bias, BIAS)
    assert torch.equal(layer.bias_only(10), BIAS)


def test_keeping_none_leaves_the_mean_output(layer: LayerCompensation) -> None:
    weight, bias = layer.full(0)
    assert weight.shape == (0, 6)
    torch.testing.assert_close(bias, (INPUTS @ PROJECTION + BIAS).mean(0), rtol=1e-4, atol=1e-4)
    assert torch.equal(bias, layer.bias_only(0))


@pytest.mark.parametrize("kept", [1, 3, 5, 8])
def test_more_compensation_loses_less(layer: LayerCompensation, kept: int) -> None:
    none = error(outputs(None, BIAS, kept))
    bias = error(outputs(None, layer.bias_only(kept), kept))
    full = error(outputs(*layer.full(kept), kept))
    assert none > bias > full


@pytest.mark.parametrize("kept", [0, 3, 8])
def test_at_full_rank_the_factors_are_the_regression_of_what_is_lost_on_the_entry(kept: int) -> None:
    lost = (INPUTS[:, kept:] @ PROJECTION[kept:]).double().numpy()
    entry = np.hstack([ENTRY.double().numpy(), np.ones((400, 1))])
    fitted = entry @ np.linalg.lstsq(entry, lost, rcond=None)[0]
    expected = (INPUTS[:, :kept] @ PROJECTION[:kept] + BIAS).numpy() + fitted
    np.testing.assert_allclose(factored(low_rank(7), kept).numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kept", [0, 3, 8])
def test_a_higher_rank_loses_no_more_and_any_rank_less_than_the_bias(layer: LayerCompensation, kept: int) -> None:
    errors = [error(factored(low_rank(rank), kept)) for rank in range(1, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < error(outputs(None, layer.bias_only(kept), kept))


def explained(features: Tensor) -> float:
    """Share of what is lost that best right factors make up for, summed over every eighth's level."""
    centred = (ENTRY - ENTRY.mean(0)).double() @ features.double()
    total = 0.0
    for kept in (10 * part // 8 for part in range(8)):
        lost = ((INPUTS - INPUTS.mean(0))[:, kept:] @ PROJECTION[kept:]).double()
        made = centred @ torch.linalg.lstsq(centred, lost).solution
        total += float(made.square().sum() / (on_entry(lost)).square().sum())
    return total


def on_entry(lost: Tensor) -> Tensor:
    centred = (ENTRY - ENTRY.mean(0)).double()
    made: Tensor = centred @ torch.linalg.lstsq(centred, lost).solution
    return made


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_no_other_features_of_the_entry_explain_more_over_the_levels(rank: int) -> None:
    ours = low_rank(rank).left
    generator = torch.Generator().manual_seed(rank)
    best = explained(ours)
    for size in (1.0, 0.1, 0.01):
        for _ in range(10):
            other = ours + size * torch.randn(ours.shape, generator=generator)
            assert explained(other) <= best + 1e-6


def test_one_left_factor_serves_every_level_with_uncorrelated_features_of_unit_variance() -> None:
    factors = low_rank(4)
    assert factors.left.shape == (7, 4)
    assert {tuple(factors.right(kept)[0].shape) for kept in (0, 2, 9)} == {(4, 6)}
    features = (ENTRY @ factors.left).double()
    torch.testing.assert_close(
        torch.cov(features.T, correction=0), torch.eye(4, dtype=torch.float64), atol=1e-3, rtol=0
    )


def test_a_rank_beyond_every_direction_stores_no_more_than_there_are() -> None:
    factors = low_rank(99)
    assert factors.left.shape == (7, 7)
    assert torch.equal(factored(factors, 3), factored(low_rank(7), 3))


def test_inputs_that_never_vary_are_survived() -> None:
    still = layer_moments(torch.ones(400, 10), torch.zeros(400, 7))
    weight, bias = LayerCompensation(PROJECTION, BIAS, still, DAMPING).full(4)
    torch.testing.assert_close(weight, PROJECTION[:4])
    torch.testing.assert_close(bias, BIAS + PROJECTION[4:].sum(0))
    right, bias = LowRankCompensation(PROJECTION, BIAS, still, DAMPING, 2).right(4)
    torch.testing.assert_close(right, torch.zeros(2, 6))
    torch.testing.assert_close(bias, BIAS + PROJECTION[4:].sum(0))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_more_compensation_loses_less_in_every_layer_of_a_model(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration, share: float
) -> None:
    dit = tiny_checkpoint.architecture
    weights = apply_ordering(dit, tiny_weights, tiny_calibration.ordering)
    denoiser = dit.denoiser(dit.dense, {name: weights[name] for name in dit.step_weights()})
    seen: dict[str, tuple[Tensor, ...]] = {}
    denoiser.tap = lambda name, *parts: seen.update({name: parts})  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(0)
    denoiser(*(torch.randn(16, *shape, generator=generator) for shape in ((3, 8, 8), (2, 6, 32), (2, 32))))
    for prunable in dit.layers:
        (rows, entry), name = seen[prunable.projection], prunable.projection
        taps = MomentAccumulator()
        taps(name, rows, entry)
        known = weights[name], weights[prunable.bias], taps.moments().of(prunable), 1e-3
        layer, factors = LayerCompensation(*known), LowRankCompensation(*known, rank=4)
        kept = int(prunable.units * share) * prunable.width
        whole = rows @ weights[name] + weights[prunable.bias]
        full, offset = layer.full(kept)
        right, constant = factors.right(kept)
        candidates = [
            rows[:, :kept] @ weights[name][:kept] + weights[prunable.bias],
            rows[:, :kept] @ weights[name][:kept] + layer.bias_only(kept),
            rows[:, :kept] @ weights[name][:kept] + entry @ factors.left @ right + constant,
            rows[:, :kept] @ full + offset,
        ]
        none, bias, low, best = ((candidate - whole).square().mean() for candidate in candidates)
        assert none > bias > best
        assert bias > low
