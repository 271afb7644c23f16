"""A genome is one level per gene; plans are what it means.

A cell is one block group of one stage. Its genes are a heads level and a channels level, or one level for both:

    stages noisy to clean │ block groups first to last │ heads, channels      (`stage` and `tied`: Diff-ES's space)

Genes of stages that no step executes exist, so that a genome always has the same layout, but they stay at level 0:
whatever they said would neither cost nor save nor change a sample. They are no part of the search.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from diffes.architectures.base import UnitKind
from diffes.errors import SearchError
from diffes.levels import LevelGrid
from diffes.schedule import StagePlan

Genome = tuple[int, ...]
Widths = Literal["separate", "tied"]
Depth = Literal["none", "joint", "alone"]
KINDS: tuple[UnitKind, UnitKind] = ("heads", "channels")


@dataclass(frozen=True)
class Gene:
    """Which level a gene is: of one stage, one block group, and one kind of unit or both."""

    stage: int
    group: int
    kinds: tuple[UnitKind, ...]

    @property
    def name(self) -> str:
        """Its key in files: stage/group/kind, kind `both` for tied widths."""
        return f"{self.stage}/{self.group}/{self.kinds[0] if len(self.kinds) == 1 else 'both'}"


@dataclass(frozen=True)
class GenomeSpace:
    """Genomes of `stages` stages on a level grid, with a cell for each of the `groups` runs of blocks of a stage.

    `groups` are the lengths of the runs, first block to last. `skips` says whether the last level, which skips half
    a block, may be taken.
    """

    grid: LevelGrid
    stages: int
    groups: tuple[int, ...]
    tied: bool = False
    skips: bool = True

    @classmethod
    def of(
        cls, dense: StagePlan, stages: int, genes: str = "stage", widths: Widths = "separate", depth: Depth = "joint"
    ) -> "GenomeSpace":
        """The space of the options `genes` (`stage`, `group:N` or `block`), `widths` and `depth`.

        `alone` has two levels, all or nothing of a whole block; `none` never skips. SearchError for a space without
        a level to choose, or with more groups than blocks.
        """
        grid = LevelGrid(dense, 1) if depth == "alone" else LevelGrid.of(dense)
        if depth == "none" and grid.parts == 1:
            raise SearchError(
                "this space has one genome",
                expected="a level between dense and skipped",
                found="heads that cannot be shared out evenly",
                remedy="Search with depth joint or alone.",
            )
        groups = _runs(len(dense), groups_of(genes, len(dense)))
        return cls(grid, stages, groups, tied=widths == "tied" or depth == "alone", skips=depth != "none")

    @property
    def top(self) -> int:
        """The highest level a gene may take."""
        return self.grid.parts if self.skips else self.grid.parts - 1

    @property
    def kinds(self) -> tuple[tuple[UnitKind, ...], ...]:
        """The kinds of unit that each gene of a cell stands for."""
        return (KINDS,) if self.tied else tuple((kind,) for kind in KINDS)

    @property
    def cell(self) -> int:
        """Genes of one block group of one stage."""
        return len(self.kinds)

    @property
    def genes_of_stage(self) -> int:
        """Genes of one stage."""
        return self.cell * len(self.groups)

    @property
    def genes(self) -> int:
        """Length of a genome."""
        return self.stages * self.genes_of_stage

    @property
    def dense(self) -> Genome:
        """The genome that removes nothing."""
        return (0,) * self.genes

    def gene(self, index: int) -> Gene:
        """What the gene at a position stands for."""
        stage, within = divmod(index, self.genes_of_stage)
        return Gene(stage, within // self.cell, self.kinds[within % self.cell])

    def first_block(self, group: int) -> int:
        """Index of a group's first block."""
        return sum(self.groups[:group])

    def single(self, index: int, level: int) -> Genome:
        """Dense but for one gene."""
        return tuple(level if gene == index else 0 for gene in range(self.genes))

    def plan(self, levels: Sequence[int]) -> StagePlan:
        """The stage plan of one stage's genes; ScheduleError for a level off the grid."""
        pairs = []
        for group, blocks in enumerate(self.groups):
            cell = levels[group * self.cell : (group + 1) * self.cell]
            pairs += [(int(cell[0]), int(cell[-1]))] * blocks
        return self.grid.plan_blocks(pairs)

    def plans(self, genome: Sequence[int]) -> list[StagePlan]:
        """Stage plans, noisy to clean."""
        if len(genome) != self.genes:
            raise SearchError("genome has the wrong length", expected=self.genes, found=len(genome))
        size = self.genes_of_stage
        return [self.plan(genome[start : start + size]) for start in range(0, self.genes, size)]

    def genome(self, plans: Iterable[StagePlan]) -> Genome:
        """Levels of stage plans; SearchError or ScheduleError for plans this space cannot say."""
        stages = list(plans)
        if len(stages) != self.stages:
            raise SearchError("plans are of other stages", expected=self.stages, found=len(stages))
        return tuple(level for stage, plan in enumerate(stages) for level in self._levels(stage, plan))

    def _levels(self, stage: int, plan: StagePlan) -> list[int]:
        pairs, found = self.grid.levels(plan), list[int]()
        for group, blocks in enumerate(self.groups):
            first = self.first_block(group)
            cell = set(pairs[first : first + blocks])
            heads, channels = pairs[first]
            allowed = len(cell) == 1 and max(heads, channels) <= self.top and (heads == channels or not self.tied)
            if not allowed:
                raise SearchError(
                    f"stage {stage} has no genome in this space",
                    expected=f"{self._rule()} in blocks {first}..{first + blocks - 1}",
                    found=f"levels {sorted(cell)} of {self.grid.parts} (heads, channels)",
                    remedy="Search with finer genes, separate widths or joint depth.",
                )
            found += [heads] if self.tied else [heads, channels]
        return found

    def _rule(self) -> str:
        levels = "one level for heads and channels" if self.tied else "one heads level and one channels level"
        return f"{levels}, at most {self.top},"


def groups_of(genes: str, blocks: int) -> int:
    """How many block groups an option `stage`, `group:N` or `block` asks for; SearchError if that cannot be."""
    if genes in ("stage", "block"):
        return 1 if genes == "stage" else blocks
    match = re.fullmatch(r"group:(\d+)", genes)
    if match is None or not 1 <= int(match[1]) <= blocks:
        raise SearchError(
            "genes cannot be laid out so", expected=f"stage, block, or group:N with N of 1..{blocks}", found=genes
        )
    return int(match[1])


def _runs(blocks: int, groups: int) -> tuple[int, ...]:
    """Lengths of contiguous groups that differ by at most one."""
    edges = [blocks * i // groups for i in range(groups + 1)]
    return tuple(end - start for start, end in zip(edges, edges[1:], strict=False))
