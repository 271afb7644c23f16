"""The first population: near-optimal answers of the knapsack, the uniform schedule, and known patterns.

Patterns give each stage a share of the largest level, noisy to clean. The MosaicDiff-like one follows its three
phases (arXiv 2510.11962): prune the slow early phase first, then the final phase, then the fast middle.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random
from search.genome import Genome
from search.knapsack import solve_knapsack

Pattern = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_JITTER = (0.1, 0.2, 0.4, 0.8)  # standard deviation of the logarithm of each gene's errors, in turn
_PATTERN_EVERY = 3  # draws: knapsacks are better guesses, patterns keep them honest
_LARGEST_SCALE = 64.0  # brings even a pattern's smallest share to the top level
_BISECTIONS = 50
_PATIENCE = 20  # draws per place in the population before a duplicate is accepted


@dataclass(frozen=True)
class References:
    """Two schedules every other is measured against: the error table's own answer, and one level everywhere."""

    knapsack: Genome
    uniform: Genome

    @classmethod
    def of(cls, errors: NDArray[np.float64], budget: Budget, random: Random) -> "References":
        """Both within the budget."""
        knapsack = budget.repaired(solve_knapsack(errors, budget), random)
        return cls(_genome(knapsack), _genome(patterned(_uniform, budget, random)))


def first_population(
    references: References, errors: NDArray[np.float64], budget: Budget, size: int, random: Random
) -> list[Genome]:
    """`size` feasible genomes: the references, then jittered knapsacks and patterns in turn."""
    found = dict.fromkeys((references.knapsack, references.uniform))
    patterns = iter(PATTERNS.values())
    for draw in range(size * _PATIENCE):
        if len(found) >= size:
            break
        pattern = next(patterns, None) if draw % _PATTERN_EVERY == _PATTERN_EVERY - 1 else None
        levels = _jittered(errors, budget, draw, random) if pattern is None else patterned(pattern, budget, random)
        found.setdefault(_genome(levels))
    genomes = list(found)[:size]
    return genomes + genomes[:1] * (size - len(genomes))


def _jittered(errors: NDArray[np.float64], budget: Budget, draw: int, random: Random) -> Levels:
    """The knapsack's answer to errors known less well than they are."""
    spread = _JITTER[draw % len(_JITTER)]
    noise = np.exp(spread * random.standard_normal((len(errors), 1)))
    return budget.repaired(solve_knapsack(errors * noise, budget), random)


def patterned(pattern: Pattern, budget: Budget, random: Random) -> Levels:
    """The pattern's levels, scaled as far as the budget asks and one level further in as few random genes as needed."""
    below, above = _bracket(pattern, budget)
    for gene in random.permutation(np.flatnonzero(above - below)):
        if budget.feasible(below):
            break
        below[gene] = above[gene]
    return below


def _bracket(pattern: Pattern, budget: Budget) -> tuple[Levels, Levels]:
    """The pattern's levels at the largest scale that saves too little and at the next that saves enough."""
    genes, levels = budget.savings.shape
    stages = genes // 2
    shape = np.repeat(pattern(np.linspace(0, 1, stages) if stages > 1 else np.zeros(1)), 2)
    shape[budget.savings[:, -1] == 0] = 0
    low, high = 0.0, _LARGEST_SCALE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if budget.feasible(_scaled(shape, middle, levels)) else (middle, high)
    return _scaled(shape, low, levels), _scaled(shape, high, levels)


def _scaled(shape: NDArray[np.float64], scale: float, levels: int) -> Levels:
    scaled: Levels = np.floor((levels - 1) * np.minimum(shape * scale, 1) + 1e-9).astype(np.int64)
    return scaled


def _genome(levels: Levels) -> Genome:
    return tuple(int(level) for level in levels)


def _uniform(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones_like(position)


def _mosaic(position: NDArray[np.float64]) -> NDArray[np.float64]:
    # 0 is the noisiest stage; phases at 45 % and 90 % of the way to the cleanest
    return np.select([position < 0.45, position >= 0.9], [1.0, 0.5], 0.15)


PATTERNS: dict[str, Pattern] = {
    "ramp up": lambda position: 0.2 + position,
    "ramp down": lambda position: 1.2 - position,
    "ends": lambda position: 0.2 + np.abs(2 * position - 1),
    "middle": lambda position: 1.2 - np.abs(2 * position - 1),
    "mosaic": _mosaic,
}
