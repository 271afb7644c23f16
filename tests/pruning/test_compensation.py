import numpy as np
import pytest
import torch
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from diffes.pruning.compensation import LayerCompensation, compensated_tensors
from diffes.pruning.moments import MomentAccumulator
from diffes.pruning.ordering import apply_ordering

DAMPING = 1e-2
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(400, 10, generator=GENERATOR) @ torch.randn(10, 10, generator=GENERATOR) + 2.0
PROJECTION = torch.randn(10, 6, generator=GENERATOR)
BIAS = torch.randn(6, generator=GENERATOR)


@pytest.fixture
def layer() -> LayerCompensation:
    rows = INPUTS.double()
    return LayerCompensation(PROJECTION, BIAS, rows.mean(0), torch.cov(rows.T, correction=0), DAMPING)


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


def test_each_mode_stores_what_it_says(layer: LayerCompensation) -> None:
    assert compensated_tensors(layer, [2, 5], "none") == {}
    bias = compensated_tensors(layer, [2, 5], "bias")
    assert [(kept, weight) for kept, (weight, _) in bias.items()] == [(2, None), (5, None)]
    for kept, (weight, offset) in compensated_tensors(layer, [2, 5], "full").items():
        assert weight is not None
        assert weight.shape == (kept, 6)
        assert weight.dtype == offset.dtype == torch.float32


def test_inputs_that_never_vary_are_survived() -> None:
    layer = LayerCompensation(PROJECTION, BIAS, torch.ones(10), torch.zeros(10, 10), DAMPING)
    weight, bias = layer.full(4)
    torch.testing.assert_close(weight, PROJECTION[:4])
    torch.testing.assert_close(bias, BIAS + PROJECTION[4:].sum(0))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_more_compensation_loses_less_in_every_layer_of_a_model(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration, share: float
) -> None:
    dit = tiny_checkpoint.architecture
    weights = apply_ordering(dit, tiny_weights, tiny_calibration.ordering)
    denoiser = dit.denoiser(dit.dense, {name: weights[name] for name in dit.step_weights()})
    seen: dict[str, Tensor] = {}
    denoiser.tap = lambda name, rows: seen.update({name: rows})  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(0)
    denoiser(*(torch.randn(16, *shape, generator=generator) for shape in ((3, 8, 8), (2, 6, 32), (2, 32))))
    for prunable in dit.layers:
        rows, name = seen[prunable.projection], prunable.projection
        taps = MomentAccumulator()
        taps(name, rows)
        moments = taps.moments()
        layer = LayerCompensation(
            weights[name], weights[prunable.bias], moments.mean[name], moments.covariance(name), 1e-3
        )
        kept = int(prunable.units * share) * prunable.width
        whole = rows @ weights[name] + weights[prunable.bias]
        full, offset = layer.full(kept)
        candidates = [
            (weights[name][:kept], weights[prunable.bias]),
            (weights[name][:kept], layer.bias_only(kept)),
            (full, offset),
        ]
        none, bias, best = ((rows[:, :kept] @ w + b - whole).square().mean() for w, b in candidates)
        assert none > bias > best
