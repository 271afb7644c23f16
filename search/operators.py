"""Operators that keep every genome within the budget.

Level switch: Diff-ES (arXiv 2603.05105) moves levels between stages, which conserves its unweighted sum. Here genes
differ in cost, so one gene falls and others rise until the budget holds again.
"""

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random

_MOST_SWITCHES = 3
_MOST_LEVELS = 2


def switch_levels(genome: Levels, budget: Budget, random: Random) -> Levels:
    """Lower one to three random genes by one or two levels, raise others to pay for it."""
    levels = genome.copy()
    for _ in range(min(random.randint(_MOST_SWITCHES), random.randint(_MOST_SWITCHES)) + 1):
        pruned = np.flatnonzero(levels)
        if not len(pruned):
            break
        lowered = int(pruned[random.randint(len(pruned))])
        levels[lowered] -= min(int(levels[lowered]), random.randint(_MOST_LEVELS) + 1)
        levels = _pay(levels, lowered, budget, random)
    return budget.repaired(levels, random)


def _pay(levels: Levels, lowered: int, budget: Budget, random: Random) -> Levels:
    """Raise random genes other than `lowered` until the budget holds or all are at the top."""
    top = budget.savings.shape[1] - 1
    for gene in random.permutation(budget.movable[budget.movable != lowered]):
        while levels[gene] < top and not budget.feasible(levels):
            levels[gene] += 1
        if budget.feasible(levels):
            break
    return levels


def cross(mother: Levels, father: Levels, budget: Budget, random: Random) -> Levels:
    """Each stage's pair of levels from either parent, then repaired."""
    from_mother = np.repeat(random.rand(len(mother) // 2) < 0.5, 2)
    return budget.repaired(np.where(from_mother, mother, father), random)


def select(fitness: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the `count` fittest, best first; equal ones in their order."""
    return np.argsort(-fitness, kind="stable")[:count]
