from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.pruning.damping import GRID, Trial, choose_dampings
from diffes.pruning.moments import LayerMoments, MomentAccumulator, Moments
from tests.pruning.test_compensation import PROJECTION

INPUTS, ENTRY = 10, 7


def drawn(rows: int, seed: int, noise: float = 1.0) -> Tensor:
    """Joint rows [x, h] whose x is partly noise."""
    mixing = torch.randn(ENTRY, INPUTS, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    entry = torch.randn(rows, ENTRY, generator=generator)
    return torch.cat([entry @ mixing + noise * torch.randn(rows, INPUTS, generator=generator), entry], 1).double()


def moments(rows: Tensor) -> LayerMoments:
    return LayerMoments(rows.mean(0), rows.T @ rows / len(rows), INPUTS)


@pytest.mark.parametrize("entry", [False, True])
@pytest.mark.parametrize("damping", [1e-3, 0.5])
def test_the_held_out_error_is_that_of_predicting_the_held_out_rows(entry: bool, damping: float) -> None:
    kept, fit, held = 4, drawn(200, 0), drawn(150, 1) + 0.3
    features = slice(INPUTS, None) if entry else slice(0, kept)
    block = slice(INPUTS, None) if entry else slice(0, INPUTS)
    centre, weight = fit.mean(0), PROJECTION.double()
    used = (fit - centre)[:, features].numpy()
    lost = ((fit - centre)[:, kept:INPUTS] @ weight[kept:]).numpy()
    ridge = damping * float(fit[:, block].var(0, correction=0).mean()) * len(fit)
    gained = np.linalg.solve(used.T @ used + ridge * np.eye(used.shape[1]), used.T @ lost)
    goal = ((held - centre)[:, kept:INPUTS] @ weight[kept:]).numpy()
    left = goal - (held - centre)[:, features].numpy() @ gained
    trial = Trial(weight, moments(fit), moments(held), kept, entry=entry)
    assert trial.error(damping) == pytest.approx((left**2).sum() / (goal**2).sum(), rel=1e-6)


def chosen(checkpoint: Checkpoint, weights: dict[str, Tensor], rows: int) -> list[float]:
    """The dampings of the inputs' regressions if every layer saw `rows` rows of one weak signal in much noise."""
    halves = []
    for seed in (0, 1):
        taps, generator = MomentAccumulator(), torch.Generator().manual_seed(seed)
        for layer in checkpoint.architecture.layers:
            size = layer.units * layer.width
            common = torch.randn(rows, 1, generator=generator)
            taps(layer.projection, common + 3 * torch.randn(rows, size + layer.entry, generator=generator))
        halves.append(taps.moments())
    found = choose_dampings(checkpoint.architecture, weights, (halves[0], halves[1]))
    return [damping.inputs for damping in found.values()]


def test_few_rows_ask_for_more_damping_than_many(tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]) -> None:
    few, many = (chosen(tiny_checkpoint, tiny_weights, rows) for rows in (150, 20_000))
    assert set(few) | set(many) <= set(GRID)
    assert sum(few) > sum(many)
    assert all(f >= m for f, m in zip(few, many, strict=True))


def test_the_choice_does_not_depend_on_which_half_is_first(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor]
) -> None:
    generator = torch.Generator().manual_seed(5)
    halves: list[Moments] = []
    for _ in range(2):
        taps = MomentAccumulator()
        for layer in tiny_checkpoint.architecture.layers:
            size = layer.units * layer.width + layer.entry
            taps(layer.projection, torch.randn(300, size, generator=generator) * torch.linspace(2, 1, size))
        halves.append(taps.moments())
    forth = choose_dampings(tiny_checkpoint.architecture, tiny_weights, (halves[0], halves[1]))
    back = choose_dampings(tiny_checkpoint.architecture, tiny_weights, (halves[1], halves[0]))
    agreeing = sum(forth[name] == back[name] for name in forth)
    assert agreeing == len(forth)


def test_a_damping_lost_in_rounding_is_the_worst() -> None:
    rows = drawn(200, 0)
    rows[:, :INPUTS] = 1e4 + 1e-3 * rows[:, :INPUTS]  # hardly varies about its mean: in float32 its covariance is noise
    coarse = LayerMoments(rows.mean(0).float().double(), (rows.T @ rows / len(rows)).float().double(), INPUTS)
    trial = Trial(PROJECTION.double(), coarse, coarse, 6, entry=False)

    assert trial.error(GRID[0]) == inf
