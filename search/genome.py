"""A genome is one level per stage for heads and one for channels; plans are what it means.

Gene 2s is stage s's heads level, gene 2s+1 its channels level, stages noisy to clean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diffes.architectures.base import UnitKind
from diffes.errors import SearchError
from diffes.levels import LevelGrid
from diffes.schedule import StagePlan

Genome = tuple[int, ...]
KINDS: tuple[UnitKind, UnitKind] = ("heads", "channels")


@dataclass(frozen=True)
class GenomeSpace:
    """Genomes of `stages` stages on a level grid; every block of a stage shares its two levels."""

    grid: LevelGrid
    stages: int

    @property
    def genes(self) -> int:
        """Length of a genome."""
        return self.stages * len(KINDS)

    @property
    def dense(self) -> Genome:
        """The genome that removes nothing."""
        return (0,) * self.genes

    def gene(self, stage: int, kind: UnitKind) -> int:
        """Position of one stage's level of one kind."""
        return stage * len(KINDS) + KINDS.index(kind)

    def single(self, stage: int, kind: UnitKind, level: int) -> Genome:
        """Dense but for one gene."""
        at = self.gene(stage, kind)
        return tuple(level if gene == at else 0 for gene in range(self.genes))

    def plans(self, genome: Sequence[int]) -> list[StagePlan]:
        """Stage plans, noisy to clean; ScheduleError for a level off the grid."""
        if len(genome) != self.genes:
            raise SearchError("genome has the wrong length", expected=self.genes, found=len(genome))
        return [self.grid.plan(int(h), int(c)) for h, c in zip(genome[0::2], genome[1::2], strict=True)]

    def genome(self, plans: Iterable[StagePlan]) -> Genome:
        """Levels of stage plans; SearchError for plans this space cannot say."""
        return tuple(level for plan in plans for level in self._levels(plan))

    def _levels(self, plan: StagePlan) -> tuple[int, int]:
        block, dense = plan[0], self.grid.dense[0]
        heads = self.grid.parts - block.heads * self.grid.parts // dense.heads
        channels = self.grid.parts - block.channels * self.grid.parts // dense.channels
        if self.grid.plan(heads, channels) != plan:
            raise SearchError("plan has no genome", expected="one level for all blocks of a stage", found=plan)
        return heads, channels
