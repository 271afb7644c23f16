"""What one gene alone costs: the error at the end of the trajectory when only it is pruned, by level.

`rollout` runs the rest of the trajectory dense and is exact. `teacher-forced` measures the squared error of one
step's guided prediction and multiplies it by what such an error comes to at the end: each stage is rolled out once
with all its genes at the middle level, and the objective found is shared out among their errors. So the table is
right about that schedule of every stage, whatever the sampler, the later steps and the interplay of blocks make of
an error, and an entry costs half a step instead of half a trajectory. On the bundled model (four block groups,
37.5 %, one image) these sums rank genomes as rollouts do, Spearman .95; by the sampler's coefficients alone .79, by
the bare errors .76.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from diffes.schedule import BlockPlan, StagePlan
from search.budget import Budget
from search.fitness import Distance
from search.forced import ForcedStep
from search.genome import Gene, GenomeSpace
from search.options import TableMethod

Errors = NDArray[np.float64]

_LEAST_ERROR = 1e-12
_LARGEST_LOG = 300.0
_DIVERGED = 1e6  # stands for the objective of a stage whose middle level already gives no samples
_TYPICAL_SLOPE = 6.0  # of the error's logarithm from no level to all, for a gene measured once


@dataclass(frozen=True)
class TableEntry:
    """One measurement: of a gene at a level or, `gene` None, of a stage's genes all together."""

    stage: int
    gene: int | None
    level: int
    name: str  # its key in files


def middle_of(levels: Sequence[int]) -> int:
    """The measured level that says most about the others."""
    return levels[(len(levels) - 1) // 2]


def table_passes(
    space: GenomeSpace, executed: Sequence[int], levels: Sequence[int], method: TableMethod
) -> list[list[TableEntry]]:
    """What has to be measured. The first pass, over each gene's middle level, makes a usable table by itself; every
    further one adds a level. Within a pass stages follow one another, genes first block to last."""
    middle = middle_of(levels)
    size = space.genes_of_stage
    passes = []
    for level in (middle, *(level for level in levels if level != middle)):
        genes = [stage * size + within for stage in executed for within in range(size)]
        passes.append([TableEntry(gene // size, gene, level, entry_name(space.gene(gene), level)) for gene in genes])
    if method == "teacher-forced":
        passes[0] += [TableEntry(stage, None, middle, f"{stage}/together") for stage in executed]
    return passes


def entry_name(gene: Gene, level: int) -> str:
    """Key of a gene's entry."""
    return f"{gene.name}/{level}"


class ErrorTable:
    """Measures entries on a teacher's images; neighbours of a stage share its dense step."""

    def __init__(self, distance: Distance, method: TableMethod) -> None:
        self._distance = distance
        self._space = distance.space
        self._method = method
        self._forced: tuple[int, ForcedStep] | None = None

    def measure(self, entry: TableEntry) -> float:
        """An entry's error; inf if it is not finite."""
        if entry.gene is None or self._method == "rollout":
            value = self._distance(self._genome(entry))
        else:
            value = self._step(entry.stage).error(self._plan(entry), self._first_block(entry))
        return value if isfinite(value) else inf

    def work(self, entry: TableEntry) -> int:
        """MACs of that measurement; a stage's first gene pays for the dense step its neighbours share."""
        if entry.gene is None or self._method == "rollout":
            return self._distance.work(self._genome(entry))
        rollouts, first = self._distance.rollouts, self._first_block(entry)
        macs, dense = rollouts.model.architecture.macs, rollouts.dense
        kept = tuple(BlockPlan(0, 0) if i < first else b for i, b in enumerate(self._plan(entry)))
        shared = macs(dense) if entry.gene % self._space.genes_of_stage == 0 else 0
        return rollouts.rows(len(self._distance.teacher.prompts)) * (macs(kept) + shared)

    def _step(self, stage: int) -> ForcedStep:
        if self._forced is None or self._forced[0] != stage:
            self._forced = None  # one stage's hidden states at a time
            self._forced = stage, ForcedStep(self._distance, stage)
        return self._forced[1]

    def _genome(self, entry: TableEntry) -> list[int]:
        size = self._space.genes_of_stage
        start = entry.stage * size
        genes = together(self._space, start) if entry.gene is None else [entry.gene]
        return [entry.level if gene in genes else 0 for gene in range(self._space.genes)]

    def _plan(self, entry: TableEntry) -> StagePlan:
        return self._space.plans(self._genome(entry))[entry.stage]

    def _first_block(self, entry: TableEntry) -> int:
        assert entry.gene is not None
        return self._space.first_block(self._space.gene(entry.gene).group)


def together(space: GenomeSpace, start: int) -> list[int]:
    """Genes pruned to learn what a stage's errors come to, the stage's first gene being `start`.

    All of them, unless every level skips: without any block nothing is left to learn from, so every other group is.
    """
    genes = range(start, start + space.genes_of_stage)
    if space.top > 1 or len(space.groups) == 1:
        return list(genes)
    return [gene for gene in genes if space.gene(gene).group % 2]


def errors_of(table: Mapping[str, float], space: GenomeSpace, budget: Budget, levels: Sequence[int]) -> Errors:
    """Errors [genes, levels + 1] from the entries measured, the other levels interpolated."""
    rows = np.zeros((space.genes, space.top + 1))
    for gene in budget.movable:
        measured = {level: entry_name(space.gene(int(gene)), level) for level in levels}
        known = {level: table[name] for level, name in measured.items() if name in table}
        rows[gene] = interpolated(list(known), list(known.values()), space.top)
        rows[gene] *= _amplification(table, space, space.gene(int(gene)).stage, middle_of(levels))
    return rows


def _amplification(table: Mapping[str, float], space: GenomeSpace, stage: int, level: int) -> float:
    """Final objective per error of a step's prediction; 1 for a table of final objectives."""
    found = table.get(f"{stage}/together")
    if found is None:
        return 1.0
    genes = together(space, stage * space.genes_of_stage)
    errors = sum(table[entry_name(space.gene(gene), level)] for gene in genes)
    if errors == 0 or not isfinite(errors):
        return 1.0  # nothing to share out by: genes without effect, or ones that interpolation forbids
    return min(found, _DIVERGED) / errors


def interpolated(levels: Sequence[int], errors: Sequence[float], parts: int) -> Errors:
    """Error of levels 0..parts, 0 at level 0 and never falling.

    Measured errors grow exponentially with the level, ever faster towards the top: their logarithm is interpolated
    linearly, extended downwards as it is and upwards at twice the slope.
    """
    logs = np.log(np.maximum(errors, _LEAST_ERROR))
    with np.errstate(invalid="ignore"):  # inf - inf beside a failed level
        slopes = np.diff(logs) / np.diff(levels) if len(levels) > 1 else np.array([_TYPICAL_SLOPE / parts])
        wanted = np.arange(1, parts + 1)
        left = np.clip(np.searchsorted(levels, wanted, side="right") - 1, 0, len(slopes) - 1)
        beyond = np.maximum(wanted - levels[-1], 0)
        curve = logs[left] + slopes[left] * (wanted - np.array(levels)[left] + beyond)
    row = np.concatenate([[0.0], np.exp(np.minimum(curve, _LARGEST_LOG))])
    row[list(levels)] = np.maximum(errors, 0)
    row[np.isnan(row)] = inf
    row[1:][curve == inf] = inf
    return np.maximum.accumulate(row)
