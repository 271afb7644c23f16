"""What a genome may cost: integer MACs of one row's whole trajectory, each stage weighted by its executed steps.

A stage the sampler never visits costs and saves nothing: its genes stay at level 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from diffes.errors import SearchError
from diffes.schedule import StagePlan
from search.genome import KINDS, GenomeSpace

Levels = NDArray[np.int64]
Random = np.random.RandomState


@dataclass(frozen=True)
class Budget:
    """Savings [genes, levels + 1] of each gene at each level, the dense cost, and the saving wanted, in MACs."""

    savings: NDArray[np.int64]
    dense: int
    wanted: int

    @property
    def reachable(self) -> int:
        """The largest saving there is."""
        return int(self.savings[:, -1].sum())

    @property
    def movable(self) -> NDArray[np.intp]:
        """Genes whose level changes the cost."""
        return np.flatnonzero(self.savings[:, -1])

    def saved(self, genome: Sequence[int] | Levels) -> int:
        """MACs a genome saves."""
        return int(self.savings[np.arange(len(genome)), np.asarray(genome)].sum())

    def removed(self, genome: Sequence[int] | Levels) -> float:
        """Share of the dense cost a genome saves."""
        return self.saved(genome) / self.dense

    def feasible(self, genome: Sequence[int] | Levels) -> bool:
        """Whether a genome saves enough."""
        return self.saved(genome) >= self.wanted

    def repaired(self, genome: Sequence[int] | Levels, random: Random) -> Levels:
        """A feasible genome near `genome` that no gene can leave by a level without breaking the budget.

        Random genes rise until enough is saved, then random genes fall as long as it stays so.
        """
        levels = np.array(genome, dtype=np.int64)
        levels[self.savings[:, -1] == 0] = 0
        self._raise(levels, random)
        self._lower(levels, random)
        return levels

    def _raise(self, levels: Levels, random: Random) -> None:
        top = self.savings.shape[1] - 1
        missing = self.wanted - self.saved(levels)
        while missing > 0:
            open_genes = self.movable[levels[self.movable] < top]
            gene = open_genes[random.randint(len(open_genes))]
            missing -= int(self.savings[gene, levels[gene] + 1] - self.savings[gene, levels[gene]])
            levels[gene] += 1

    def _lower(self, levels: Levels, random: Random) -> None:
        surplus = self.saved(levels) - self.wanted
        for gene in random.permutation(self.movable):
            while levels[gene] > 0:
                step = int(self.savings[gene, levels[gene]] - self.savings[gene, levels[gene] - 1])
                if step > surplus:
                    break
                levels[gene] -= 1
                surplus -= step


def budget_for(space: GenomeSpace, macs: Callable[[StagePlan], int], executed: Sequence[int], share: float) -> Budget:
    """The budget that removes at least `share` of the dense trajectory's MACs.

    `executed` counts the sampler's steps in each stage. SearchError names the largest reachable share when
    `share` is beyond it.
    """
    dense = macs(space.grid.dense)
    levels = range(space.grid.parts + 1)
    per_step = {
        "heads": [dense - macs(space.grid.plan(level, 0)) for level in levels],
        "channels": [dense - macs(space.grid.plan(0, level)) for level in levels],
    }
    both = dense - macs(space.grid.plan(space.grid.parts, space.grid.parts))
    if both != sum(per_step[kind][-1] for kind in KINDS):
        raise SearchError("the cost of heads and channels must add up", expected=both, found=per_step)
    savings = np.array([[count * s for s in per_step[kind]] for count in executed for kind in KINDS], dtype=np.int64)
    total = dense * sum(executed)
    budget = Budget(savings, total, ceil(Fraction(str(share)) * total))
    if budget.wanted > budget.reachable:
        raise SearchError(
            "the budget cannot be reached",
            expected=f"at most {_floor(budget.reachable / total)} of the MACs removed",
            found=share,
            remedy="Ask for less: embeddings and the final layer are never pruned.",
        )
    return budget


def _floor(share: float) -> float:
    return int(share * 10000) / 10000
