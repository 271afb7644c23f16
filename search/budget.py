"""What a genome may cost: an additive integer cost of one row's whole trajectory, stages weighted by executed steps.

The cost is MACs, nanoseconds or bytes: whatever adds up over genes. A stage the sampler never visits costs and saves
nothing: its genes stay at level 0.

A measured cost need not fall with every level. A level that saves no more than a lower one is never taken: raising a
gene always passes to the next level that saves more, so that every genome can be brought within the budget.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from diffes.errors import SearchError
from diffes.schedule import StagePlan
from search.genome import GenomeSpace

Levels = NDArray[np.int64]
Random = np.random.RandomState
PlanCost = Callable[[StagePlan], int]  # of one row of one step


@dataclass(frozen=True)
class Budget:
    """Savings [genes, levels + 1] of each gene at each level, the dense cost, and the saving wanted, in `unit`.

    Level 0 saves 0. Savings may fall with the level, and be negative.
    """

    savings: NDArray[np.int64]
    dense: int
    wanted: int
    unit: str = "MACs"

    @cached_property
    def useful(self) -> NDArray[np.bool_]:
        """Levels [genes, levels + 1] that save more than every lower one; level 0 always."""
        before = np.maximum.accumulate(self.savings, axis=1)[:, :-1]
        first = np.ones((len(self.savings), 1), dtype=np.bool_)
        return np.concatenate([first, self.savings[:, 1:] > before], axis=1)

    @cached_property
    def above(self) -> Levels:
        """The next useful level above each [genes, levels + 1]; -1 where there is none."""
        top = self.savings.shape[1] - 1
        found = np.full(self.savings.shape, -1, dtype=np.int64)
        for level in reversed(range(top)):
            found[:, level] = np.where(self.useful[:, level + 1], level + 1, found[:, level + 1])
        return found

    @cached_property
    def below(self) -> Levels:
        """The highest useful level not above each [genes, levels + 1], which saves at least as much."""
        levels = np.where(self.useful, np.arange(self.savings.shape[1]), 0)
        highest: Levels = np.maximum.accumulate(levels, axis=1).astype(np.int64)
        return highest

    @property
    def top(self) -> Levels:
        """The level of each gene that saves most."""
        return self.below[:, -1]

    @cached_property
    def reachable(self) -> int:
        """The largest saving there is."""
        return int(self.savings.max(axis=1).sum())

    @cached_property
    def movable(self) -> NDArray[np.intp]:
        """Genes with a level that saves something."""
        return np.flatnonzero(self.top)

    def saved(self, genome: Sequence[int] | Levels) -> int:
        """What a genome saves."""
        return int(self.savings[np.arange(len(genome)), np.asarray(genome)].sum())

    def removed(self, genome: Sequence[int] | Levels) -> float:
        """Share of the dense cost a genome saves."""
        return self.saved(genome) / self.dense

    def feasible(self, genome: Sequence[int] | Levels) -> bool:
        """Whether a genome saves enough."""
        return self.saved(genome) >= self.wanted

    def asking(self, share: float) -> "Budget":
        """The same costs, with another share of the dense cost wanted."""
        return replace(self, wanted=ceil(Fraction(str(share)) * self.dense))

    def only(self, allowed: NDArray[np.bool_]) -> "Budget":
        """The same wish with levels [genes, levels + 1] left that are allowed; the others save nothing."""
        return replace(self, savings=np.where(allowed, self.savings, -1))

    def usable(self, genome: Sequence[int] | Levels) -> Levels:
        """The genome with each gene at the nearest useful level below; it saves no less."""
        levels: Levels = self.below[np.arange(len(genome)), np.asarray(genome)]
        return levels

    def gain(self, gene: int, level: int, other: int) -> int:
        """What a gene saves more at the level `other`."""
        return int(self.savings[gene, other] - self.savings[gene, level])

    def repaired(self, genome: Sequence[int] | Levels, random: Random, held: Sequence[int] = ()) -> Levels:
        """A feasible genome near `genome` that no gene can leave by a level without breaking the budget.

        Random genes rise until enough is saved, then random genes fall as long as it stays so; the genes `held` do
        so only when the others cannot. Every rise saves at least 1, so it ends; `budget_for` saw to it that it ends
        within the budget.
        """
        levels = self.usable(genome)
        last = np.isin(self.movable, held)
        for genes in (self.movable[~last], self.movable[last]):
            self._raise(levels, genes, random)
        for genes in (self.movable[~last], self.movable[last]):
            self._lower(levels, genes, random)
        return levels

    def _raise(self, levels: Levels, genes: NDArray[np.intp], random: Random) -> None:
        missing = self.wanted - self.saved(levels)
        while missing > 0:
            open_genes = genes[levels[genes] < self.top[genes]]
            if not len(open_genes):
                return
            gene = int(open_genes[random.randint(len(open_genes))])
            higher = int(self.above[gene, levels[gene]])
            missing -= self.gain(gene, int(levels[gene]), higher)
            levels[gene] = higher

    def _lower(self, levels: Levels, genes: NDArray[np.intp], random: Random) -> None:
        surplus = self.saved(levels) - self.wanted
        for gene in random.permutation(genes):
            while levels[gene] > 0:
                lower = int(self.below[gene, levels[gene] - 1])
                step = self.gain(gene, lower, int(levels[gene]))
                if step > surplus:
                    break
                levels[gene] = lower
                surplus -= step


def budget_for(space: GenomeSpace, cost: PlanCost, executed: Sequence[int], share: float, unit: str = "MACs") -> Budget:
    """The budget that removes at least `share` of the dense trajectory's cost, counted in `unit`.

    `executed` counts the sampler's steps in each stage. SearchError for a cost that does not add up over genes, and
    for a share out of reach, which names the largest there is.
    """
    if not any(executed):
        raise SearchError("no stage is executed", expected="a sampler step in some stage", found=list(executed))
    per_step = _savings_of_step(space, cost)
    savings = np.concatenate([count * per_step for count in executed])
    total = cost(space.grid.dense) * sum(executed)
    budget = Budget(savings, total, 0, unit).asking(share)
    if budget.wanted > budget.reachable:
        raise SearchError(
            "the budget cannot be reached",
            expected=f"at most {_floor(budget.reachable / total)} of the {unit} removed",
            found=share,
            remedy="Ask for less: what stands around the blocks is never pruned.",
        )
    return budget


def _savings_of_step(space: GenomeSpace, cost: PlanCost) -> NDArray[np.int64]:
    """What one step saves [genes of a stage, levels + 1]; SearchError unless corner plans cost what genes add up to."""
    dense, size = cost(space.grid.dense), space.genes_of_stage
    rows = [
        [
            dense - cost(space.plan([level if gene == own else 0 for gene in range(size)]))
            for level in range(space.top + 1)
        ]
        for own in range(size)
    ]
    savings = np.array(rows, dtype=np.int64)
    for corner in _corners(space):
        expected, found = dense - int(savings[np.arange(size), corner].sum()), cost(space.plan(corner))
        if expected != found:
            raise SearchError(
                "the cost must add up over genes",
                expected=f"{expected} for levels {corner}, from its genes one by one",
                found=found,
                remedy="Give a cost that is a sum over heads and channels of blocks, such as MACs.",
            )
    return savings


def _corners(space: GenomeSpace) -> Iterator[list[int]]:
    """One stage's genes all at each level, each kind alone at the top, and every other group at the top."""
    size = space.genes_of_stage
    yield from ([level] * size for level in range(1, space.top + 1))
    for offset in range(space.cell):
        yield [space.top if gene % space.cell == offset else 0 for gene in range(size)]
    for parity in (0, 1):
        yield [space.top if gene // space.cell % 2 == parity else 0 for gene in range(size)]


def _floor(share: float) -> float:
    return int(share * 10000) / 10000
