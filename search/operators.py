"""Operators that keep every genome within the budget, or within a range of budgets.

Level switch: Diff-ES (arXiv 2603.05105) moves levels between stages, which conserves its unweighted sum. Here genes
differ in cost, so some genes fall and others rise until the budget holds again. Where blocks can be skipped, a second
move skips or restores a whole block group at once: single switches would have to cross the costly levels between.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random
from search.budget_range import BudgetRange
from search.genome import GenomeSpace

_LEAST_SWITCHES = 3
_GENES_PER_SWITCH = 20  # of large genomes, up to so many switch at once
_MOST_LEVELS = 2
_SKIPPED = 0.2  # share of mutations that skip or restore a block group, where that may be
_DRIFT = 0.05  # of the range's width: standard deviation of the saving by which a mutant leaves its parent's


@dataclass(frozen=True)
class Operators:
    """Mutation and crossover of genomes laid out as `space`, within `budget`."""

    space: GenomeSpace
    budget: Budget

    def around(self, _genome: Levels, _random: Random) -> "Operators":
        """The operators for mutants of a genome: these."""
        return self

    def mutated(self, genome: Levels, random: Random) -> Levels:
        """A neighbour by one of the moves."""
        if self.space.skips and self.space.top > 1 and random.rand() < _SKIPPED:
            return self.skip_switched(genome, random)
        return self.level_switched(genome, random)

    def level_switched(self, genome: Levels, random: Random) -> Levels:
        """Lower a few random genes by one or two levels, raise others to pay for it."""
        levels, budget = genome.copy(), self.budget
        pruned = np.flatnonzero(levels)
        most = max(_LEAST_SWITCHES, len(budget.movable) // _GENES_PER_SWITCH)
        count = min(random.randint(most), random.randint(most)) + 1
        lowered = random.permutation(pruned)[:count]
        for gene in lowered:
            levels[gene] -= min(int(levels[gene]), random.randint(_MOST_LEVELS) + 1)
        levels = budget.usable(levels)
        self._pay(levels, lowered, random)
        return budget.repaired(levels, random, held=lowered.tolist())

    def skip_switched(self, genome: Levels, random: Random) -> Levels:
        """Skip a random block group of a stage altogether or, if it is skipped, restore it; others pay or gain."""
        levels, cell = genome.copy(), self.space.cell
        cells = np.unique(self.budget.movable // cell)
        if not len(cells):
            return levels
        first = int(cells[random.randint(len(cells))]) * cell
        genes = list(range(first, first + cell))
        top = self.budget.top[genes]
        levels[genes] = 0 if np.array_equal(levels[genes], top) else top
        return self.budget.repaired(levels, random, held=genes)

    def crossed(self, mother: Levels, father: Levels, random: Random) -> Levels:
        """Each stage, or each block group of each stage, from either parent, then repaired."""
        together = self.space.genes_of_stage if random.rand() < 0.5 else self.space.cell
        from_mother = np.repeat(random.rand(len(mother) // together) < 0.5, together)
        return self.budget.repaired(np.where(from_mother, mother, father), random)

    def _pay(self, levels: Levels, lowered: NDArray[np.intp], random: Random) -> None:
        """Raise random genes other than those lowered by one or two levels each until the budget holds."""
        budget = self.budget
        for gene in random.permutation(np.setdiff1d(budget.movable, lowered)):
            for _ in range(random.randint(_MOST_LEVELS) + 1):
                if budget.feasible(levels):
                    return
                higher = int(budget.above[gene, levels[gene]])
                levels[gene] = levels[gene] if higher < 0 else higher


@dataclass(frozen=True)
class RangeOperators:
    """Mutation and crossover within a range of budgets: every offspring is tight to a budget drawn near its parents'.

    So it inherits what they found out about budgets like theirs: repair over a long way would draw it anew.
    """

    space: GenomeSpace
    budgets: BudgetRange

    def around(self, genome: Levels, random: Random) -> Operators:
        """The operators for mutants of a genome: all tight to one budget near its own, so that they compare."""
        drift = _DRIFT * self.budgets.width * random.standard_normal()
        return Operators(self.space, self.budgets.wanting(self.budgets.low.saved(genome) + drift))

    def crossed(self, mother: Levels, father: Levels, random: Random) -> Levels:
        """A child of two parents, tight to a budget between theirs."""
        first, second = (self.budgets.low.saved(parent) for parent in (mother, father))
        budget = self.budgets.wanting(first + random.rand() * (second - first))
        return Operators(self.space, budget).crossed(mother, father, random)


def select(fitness: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the `count` fittest, best first; equal ones in their order."""
    return np.argsort(-fitness, kind="stable")[:count]
