"""Palettes fit the room, save enough, and lose little more than the best palettes there are."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from search.budget import Budget
from search.knapsack import solve_knapsack
from search.palette import choose_palette

STAGES, GENES, LEVELS = 3, 2, 3  # levels beside level 0


def instance(seed: int, share: float = 0.5) -> tuple[NDArray[np.float64], Budget, NDArray[np.int64]]:
    """Random rising errors, savings in equal parts, and sizes that fall with the level."""
    random = np.random.RandomState(seed)
    rises = random.gamma(0.5, 1.0, (STAGES * GENES, LEVELS))
    errors = np.concatenate([np.zeros((STAGES * GENES, 1)), np.cumsum(rises, axis=1)], axis=1)
    weights = random.randint(1, 5, (STAGES * GENES, 1))
    savings = weights * np.arange(LEVELS + 1)
    dense = int(savings[:, -1].sum())
    sizes = np.tile([0, *(10 * level + 1 for level in reversed(range(LEVELS)))], (GENES, 1))
    return errors, Budget(savings, dense, int(share * dense)), sizes


def least(errors: NDArray[np.float64], budget: Budget, palette: NDArray[np.bool_]) -> float:
    """Error of the knapsack's answer within a palette; inf if it cannot save enough."""
    within = budget.only(np.tile(palette, (STAGES, 1)))
    if int(within.savings.max(axis=1).sum()) < budget.wanted:
        return np.inf
    levels = solve_knapsack(errors, within)
    return float(errors[np.arange(len(errors)), levels].sum())


def exhaustive(errors: NDArray[np.float64], budget: Budget, sizes: NDArray[np.int64], room: int) -> float:
    """The least error of all palettes that fit."""
    subsets = [set(c) for k in range(LEVELS + 1) for c in combinations(range(1, LEVELS + 1), k)]
    best = np.inf
    for chosen in product(subsets, repeat=GENES):
        palette = np.array([[level == 0 or level in own for level in range(LEVELS + 1)] for own in chosen])
        if sizes[palette].sum() <= room:
            best = min(best, least(errors, budget, palette))
    return best


@pytest.mark.parametrize("room", [15, 25, 35, 50])
def test_a_palette_fits_and_is_close_to_the_best_there_is(room: int) -> None:
    ratios = []
    for seed in range(25):
        errors, budget, sizes = instance(seed)
        palette = choose_palette(errors, budget, sizes, room)
        best = exhaustive(errors, budget, sizes, room)
        if palette is None:
            assert best == np.inf
            continue
        assert palette[:, 0].all()
        assert sizes[palette].sum() <= room
        ratios.append(least(errors, budget, palette) / best)
    assert len(ratios) > 15
    assert min(ratios) >= 1 - 1e-9
    assert np.median(ratios) == pytest.approx(1)
    assert np.mean(ratios) < 1.15


def test_with_room_for_everything_nothing_is_given_up() -> None:
    errors, budget, sizes = instance(0)
    palette = choose_palette(errors, budget, sizes, int(sizes.sum()))
    assert palette is not None
    assert palette.all()


def test_less_room_never_helps() -> None:
    errors, budget, sizes = instance(1)
    found = [choose_palette(errors, budget, sizes, room) for room in (10, 22, 34, 100)]
    losses = [least(errors, budget, palette) for palette in found if palette is not None]
    assert losses == sorted(losses, reverse=True)


def test_without_room_for_what_the_budget_needs_there_is_none() -> None:
    errors, budget, sizes = instance(2, share=0.9)
    assert choose_palette(errors, budget, sizes, 0) is None


def test_a_forbidden_level_is_not_relied_on() -> None:
    errors, budget, sizes = instance(3)
    errors[:, LEVELS] = np.inf
    palette = choose_palette(errors, budget, sizes, 40)
    assert palette is not None
    assert least(errors, budget, palette) < np.inf
