import pytest
import torch
from torch import Tensor

from diffes.architectures import PrunableLayer
from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from diffes.pruning.moments import Moments
from diffes.pruning.ordering import apply_ordering, damped, order_by_energy, order_layer, order_moments, order_units

DAMPING = 1e-3


def layer_of(units: int, width: int) -> PrunableLayer:
    return PrunableLayer(0, "channels", units, width, ("rows",), "projection", "bias", 1, 1, 1)


def problem(size: int, outputs: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.randn(size, outputs, generator=generator, dtype=torch.float64), mixing @ mixing.T / size


def least_error(projection: Tensor, covariance: Tensor, kept: list[int]) -> float:
    """What is lost at best if only `kept` inputs remain: least squares solved anew for this set."""
    gone = [i for i in range(len(projection)) if i not in kept]
    c = damped(covariance, DAMPING)
    schur = c[gone][:, gone] - c[gone][:, kept] @ torch.linalg.solve(c[kept][:, kept], c[kept][:, gone])
    return float(torch.einsum("io,ij,jo->", projection[gone], schur, projection[gone]))


def greedy(projection: Tensor, covariance: Tensor, width: int) -> list[int]:
    """Remove the unit whose absence costs least, every set refitted from scratch; most important first."""
    left, removed = list(range(len(projection) // width)), []
    while left:

        def loss(unit: int) -> float:
            kept = [u * width + i for u in left if u != unit for i in range(width)]
            return least_error(projection, covariance, kept)

        least = min(left, key=loss)
        left.remove(least)
        removed.append(least)
    return removed[::-1]


@pytest.mark.parametrize(("units", "width"), [(12, 1), (5, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_the_ordering_is_greedy_optimal_brain_surgeon(units: int, width: int, seed: int) -> None:
    projection, covariance = problem(units * width, 7, seed)
    found = order_layer(layer_of(units, width), projection, covariance, DAMPING)
    assert found.tolist() == greedy(projection, covariance, width)


def least_lost(projection: Tensor, moment: Tensor, width: int) -> list[int]:
    """Remove the unit after whose removal the removed units' summed output has the least energy; nothing refitted."""
    left, removed = list(range(len(projection) // width)), list[int]()

    def energy(units: list[int]) -> float:
        rows = [u * width + i for u in units for i in range(width)]
        return float(torch.einsum("io,ij,jo->", projection[rows], moment[rows][:, rows], projection[rows]))

    while left:
        least = min(left, key=lambda unit: energy([*removed, unit]))
        left.remove(least)
        removed.append(least)
    return removed[::-1]


@pytest.mark.parametrize(("units", "width"), [(12, 1), (5, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_by_energy_the_summed_output_of_the_removed_grows_least(units: int, width: int, seed: int) -> None:
    projection, moment = problem(units * width, 7, seed)
    assert order_by_energy(layer_of(units, width), projection, moment).tolist() == least_lost(projection, moment, width)


def test_two_loud_units_that_cancel_leave_before_a_quiet_one() -> None:
    projection = torch.tensor([[2.0], [1.0], [2.0]])
    moment = torch.tensor([[1.0, 0.0, -1.0], [0.0, 9.0, 0.0], [-1.0, 0.0, 1.0]])
    assert order_by_energy(layer_of(3, 1), projection, moment).tolist()[0] == 1


def test_a_constant_input_matters_by_energy_and_not_by_variance(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    dit, name = tiny_checkpoint.architecture, "blocks.0.fc2.weight"
    moments = tiny_calibration.moments
    mean, second = dict(moments.mean), dict(moments.second)
    mean[name], second[name] = mean[name].clone(), second[name].clone()
    mean[name][5] = 100.0  # and no variance at all
    second[name][5] = second[name][:, 5] = 100.0 * mean[name]
    constant = Moments(mean, second, moments.rows)
    by = {kind: order_units(dit, tiny_weights, constant, kind, {})[name].tolist() for kind in ("energy", "variance")}
    assert by["energy"][0] == 5
    assert by["variance"].index(5) > 100


def test_an_input_without_weight_or_variance_goes_first() -> None:
    projection, covariance = problem(6, 4, 0)
    projection[2] = 0
    covariance = covariance.clone()
    covariance[4], covariance[:, 4] = 0, 0
    assert set(order_layer(layer_of(6, 1), projection, covariance, DAMPING)[-2:].tolist()) == {2, 4}


def test_of_two_inputs_that_say_the_same_one_goes_before_all_that_say_something_else() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 5, generator=generator, dtype=torch.float64)
    rows[:, 3] = rows[:, 1]
    projection = torch.ones(5, 4, dtype=torch.float64)
    order = order_layer(layer_of(5, 1), projection, rows.T @ rows / 500, DAMPING)
    assert int(order[-1]) in (1, 3)


def test_a_dead_layer_still_gets_an_ordering() -> None:
    found = order_layer(layer_of(6, 2), torch.zeros(12, 3), torch.zeros(12, 12), DAMPING)
    assert sorted(found.tolist()) == list(range(6))


def test_many_units_leave_in_groups_and_every_one_leaves_once() -> None:
    projection, covariance = problem(300, 5, 0)
    assert sorted(order_layer(layer_of(300, 1), projection, covariance, DAMPING).tolist()) == list(range(300))


def test_every_layer_has_a_permutation(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> None:
    layers = tiny_checkpoint.architecture.layers
    assert set(tiny_calibration.ordering) == {layer.projection for layer in layers}
    for layer in layers:
        assert tiny_calibration.ordering[layer.projection].sort().values.tolist() == list(range(layer.units))


def test_ordering_the_weights_does_not_change_the_dense_function(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    dit = tiny_checkpoint.architecture
    ordered = apply_ordering(dit, tiny_weights, tiny_calibration.ordering)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, *shape, generator=generator) for shape in ((3, 8, 8), (2, 6, 32), (2, 32))]
    before, after = (
        dit.denoiser(dit.dense, {name: weights[name] for name in dit.step_weights()})(*inputs)
        for weights in (tiny_weights, ordered)
    )
    assert not torch.equal(ordered["blocks.0.fc1.weight"], tiny_weights["blocks.0.fc1.weight"])
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_heads_move_whole(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    ordered = apply_ordering(tiny_checkpoint.architecture, tiny_weights, tiny_calibration.ordering)
    for layer in tiny_checkpoint.architecture.layers:
        permutation = tiny_calibration.ordering[layer.projection]
        for name in (*layer.sliced, layer.projection):
            before = tiny_weights[name].unflatten(0, (layer.units, -1))
            assert torch.equal(ordered[name].unflatten(0, (layer.units, -1)), before[permutation])
        assert torch.equal(ordered[layer.bias], tiny_weights[layer.bias])


def test_moments_follow_their_units(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    dit = tiny_checkpoint.architecture
    taps: dict[str, Tensor] = {}
    ordered = apply_ordering(dit, tiny_weights, tiny_calibration.ordering)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, *shape, generator=generator) for shape in ((3, 8, 8), (2, 6, 32), (2, 32))]
    seen = []
    for weights in (tiny_weights, ordered):
        denoiser = dit.denoiser(dit.dense, {name: weights[name] for name in dit.step_weights()})
        taps = {}
        denoiser.tap = lambda name, *parts, taps=taps: taps.update({name: torch.cat(parts, 1).double()})  # type: ignore[assignment]
        denoiser(*inputs)
        seen.append(
            Moments({n: r.mean(0) for n, r in taps.items()}, {n: r.T @ r / len(r) for n, r in taps.items()}, 64)
        )
    moved = order_moments(dit, seen[0], tiny_calibration.ordering)
    for name in tiny_calibration.ordering:
        torch.testing.assert_close(moved.mean[name], seen[1].mean[name], rtol=0, atol=1e-5)
        torch.testing.assert_close(moved.second[name], seen[1].second[name], rtol=0, atol=1e-4)
