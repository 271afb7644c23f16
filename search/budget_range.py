"""A range of budgets, as a Pareto front spans it: every genome is tight to some budget of the range.

A genome is tight to a budget if it keeps it and no gene can fall by a level without breaking it. So a genome of the
range saves at least what the lowest budget asks, and more than the highest asks only by what its last level saves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.budget import Budget, Levels, Random


@dataclass(frozen=True)
class BudgetRange:
    """Budgets of the same costs that want from `low.wanted` to `high.wanted`."""

    low: Budget
    high: Budget

    def wanting(self, saving: float) -> Budget:
        """The budget that wants about this saving, or the nearest end of the range."""
        wanted = int(np.clip(round(saving), self.low.wanted, self.high.wanted))
        return replace(self.low, wanted=wanted)

    def grid(self, count: int) -> list[Budget]:
        """Budgets at equal distances, both ends included, in an order in which any first few are spread out."""
        savings = np.linspace(self.low.wanted, self.high.wanted, count)
        return [self.wanting(savings[index]) for index in _spread(count)]

    def drawn(self, random: Random) -> Budget:
        """A random budget."""
        return self.wanting(self.low.wanted + random.rand() * self.width)

    @property
    def width(self) -> int:
        """What the highest budget saves more than the lowest."""
        return self.high.wanted - self.low.wanted

    def counted(self, genome: Sequence[int] | Levels) -> int:
        """What a genome saves, as far as the range asks for it.

        What the last level saves beyond is no virtue: or else a little more of it would excuse any error.
        """
        return min(self.low.saved(genome), self.high.wanted)

    def holds(self, genome: Sequence[int] | Levels) -> bool:
        """Whether a genome is within the range."""
        if self.low.saved(genome) <= self.high.wanted:
            return self.low.feasible(genome)
        return tight(self.high, genome)


def tight(budget: Budget, genome: Sequence[int] | Levels) -> bool:
    """Whether a genome keeps a budget and would not if any gene fell to its next lower useful level."""
    levels = np.asarray(genome)
    genes = np.flatnonzero(levels)
    lower = budget.below[genes, levels[genes] - 1]
    least = (budget.savings[genes, levels[genes]] - budget.savings[genes, lower]).min(initial=budget.dense)
    return 0 <= budget.saved(levels) - budget.wanted < int(least)


def _spread(count: int) -> list[int]:
    """0..count-1: the ends, then the middle of what lies between two that came before, widest first."""
    order = [0, count - 1][:count]
    gaps = [(0, count - 1)]
    while gaps:
        first, last = gaps.pop(0)
        if last - first > 1:
            middle = (first + last) // 2
            order.append(middle)
            gaps += [(first, middle), (middle, last)]
    return order
