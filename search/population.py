"""The first population: near-optimal answers of the knapsack, the uniform schedule, and known patterns.

Patterns give each stage a share of the largest level, noisy to clean. The MosaicDiff-like one follows its three
phases (arXiv 2510.11962): prune the slow early phase first, then the final phase, then the fast middle.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random
from search.genome import Genome, GenomeSpace
from search.knapsack import solve_knapsack

Pattern = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_JITTER = (0.1, 0.2, 0.4, 0.8)  # standard deviation of the logarithm of each gene's errors, in turn
_PATTERN_EVERY = 3  # draws: knapsacks are better guesses, patterns keep them honest
_LARGEST_SCALE = 64.0  # brings even a pattern's smallest share to the top level
_BISECTIONS = 50
PATIENCE = 40  # draws in a row of genomes already there before duplicates are accepted


@dataclass(frozen=True)
class References:
    """Two schedules every other is measured against: the error table's own answer, and one level everywhere."""

    knapsack: Genome
    uniform: Genome

    @classmethod
    def of(cls, errors: NDArray[np.float64], space: GenomeSpace, budget: Budget, random: Random) -> "References":
        """Both within the budget."""
        knapsack = budget.repaired(solve_knapsack(errors, budget), random)
        return cls(as_genome(knapsack), uniform_genome(space, budget, random))


def first_population(
    references: References,
    errors: NDArray[np.float64],
    space: GenomeSpace,
    budget: Budget,
    size: int,
    random: Random,
) -> list[Genome]:
    """`size` feasible genomes: the references, then jittered knapsacks and patterns in turn."""
    found = dict.fromkeys((references.knapsack, references.uniform))
    patterns = iter(PATTERNS.values())
    draw = fruitless = 0
    while len(found) < size and fruitless < PATIENCE:
        pattern = next(patterns, None) if draw % _PATTERN_EVERY == _PATTERN_EVERY - 1 else None
        if pattern is None:
            levels = jittered(errors, space, budget, _JITTER[draw % len(_JITTER)], random)
        else:
            levels = patterned(pattern, space, budget, random)
        fruitless = fruitless + 1 if as_genome(levels) in found else 0
        found.setdefault(as_genome(levels))
        draw += 1
    genomes = list(found)[:size]
    return genomes + genomes[:1] * (size - len(genomes))


def jittered(errors: NDArray[np.float64], space: GenomeSpace, budget: Budget, spread: float, random: Random) -> Levels:
    """The knapsack's answer to errors known less well than they are: by gene, and by stage where it has many."""
    noise = spread * random.standard_normal((len(errors), 1))
    if len(space.groups) > 1:
        noise += spread * np.repeat(random.standard_normal((space.stages, 1)), space.genes_of_stage, axis=0)
    return budget.repaired(solve_knapsack(errors * np.exp(noise), budget), random)


def patterned(pattern: Pattern, space: GenomeSpace, budget: Budget, random: Random) -> Levels:
    """The pattern's levels, scaled as far as the budget asks and one level further in as few random genes as needed.

    Whatever saves nothing more than a lower level is repaired away.
    """
    shape = np.repeat(
        pattern(np.linspace(0, 1, space.stages) if space.stages > 1 else np.zeros(1)), space.genes_of_stage
    )
    below, above = _bracket(shape, budget)
    for gene in random.permutation(np.flatnonzero(above - below)):
        if budget.feasible(below):
            break
        below[gene] = above[gene]
    return below if budget.feasible(below) else budget.repaired(below, random)


def _bracket(shape: NDArray[np.float64], budget: Budget) -> tuple[Levels, Levels]:
    """The pattern's levels at the largest scale that saves too little and at the next that saves enough."""
    low, high = 0.0, _LARGEST_SCALE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if budget.feasible(_scaled(shape, middle, budget)) else (middle, high)
    return _scaled(shape, low, budget), _scaled(shape, high, budget)


def _scaled(shape: NDArray[np.float64], scale: float, budget: Budget) -> Levels:
    top = budget.savings.shape[1] - 1
    return budget.usable(np.floor(top * np.minimum(shape * scale, 1) + 1e-9).astype(np.int64))


def uniform_genome(space: GenomeSpace, budget: Budget, random: Random) -> Genome:
    """One level everywhere, one more in as few random genes as the budget needs."""
    return as_genome(patterned(np.ones_like, space, budget, random))


def as_genome(levels: Levels) -> Genome:
    """Levels as a genome: hashable, of plain integers."""
    return tuple(int(level) for level in levels)


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
