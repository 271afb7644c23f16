"""The first population of a Pareto front: knapsacks, uniform schedules and jittered knapsacks across the budgets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.budget import Random
from search.budget_range import BudgetRange
from search.genome import Genome, GenomeSpace
from search.knapsack import solve_knapsack
from search.population import PATIENCE, as_genome, jittered, uniform_genome

_KNAPSACKS = 2  # one in so many genomes: the error table's own front is the best guess there is
_UNIFORMS = 4  # one in so many, two at least: both ends of what is compared with
_MOST_UNIFORMS = 5
_JITTER = (0.1, 0.2, 0.4)  # standard deviation of the logarithm of each gene's errors, in turn


@dataclass(frozen=True)
class FrontReferences:
    """What the front is measured against: the error table's own front, and one level everywhere.

    Both in an order in which any first few are spread over the budgets.
    """

    knapsacks: tuple[Genome, ...]
    uniforms: tuple[Genome, ...]

    @classmethod
    def of(
        cls, errors: NDArray[np.float64], space: GenomeSpace, budgets: BudgetRange, size: int, random: Random
    ) -> "FrontReferences":
        """Those that a population of `size` has room for; both ends of the range always."""
        knapsacks = [
            as_genome(budget.repaired(solve_knapsack(errors, budget), random))
            for budget in budgets.grid(max(2, size // _KNAPSACKS))
        ]
        count = min(max(2, size // _UNIFORMS), _MOST_UNIFORMS)
        uniforms = [
            as_genome(budget.repaired(uniform_genome(space, budget, random), random)) for budget in budgets.grid(count)
        ]
        return cls(tuple(dict.fromkeys(knapsacks)), tuple(dict.fromkeys(uniforms)))


def first_front(
    references: FrontReferences,
    errors: NDArray[np.float64],
    space: GenomeSpace,
    budgets: BudgetRange,
    size: int,
    random: Random,
) -> list[Genome]:
    """`size` genomes, each tight to a budget of the range: the references, then jittered knapsacks anywhere."""
    found = dict.fromkeys((*references.knapsacks, *references.uniforms))
    draw = fruitless = 0
    while len(found) < size and fruitless < PATIENCE:
        genome = as_genome(jittered(errors, space, budgets.drawn(random), _JITTER[draw % len(_JITTER)], random))
        fruitless = fruitless + 1 if genome in found else 0
        found.setdefault(genome)
        draw += 1
    genomes = list(found)[:size]
    return genomes + genomes[:1] * (size - len(genomes))
