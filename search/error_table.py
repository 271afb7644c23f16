"""What one stage alone costs: the error at the end of the trajectory when only it is pruned, by kind and level.

`rollout` runs the rest of the trajectory dense and is exact. `teacher-forced` stops at the stage's end and
multiplies its squared error there by how much the dense rest amplifies it, measured once a stage on its middle
level: an entry costs one stage instead of half a trajectory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from diffes.architectures.base import UnitKind
from diffes.rollout import State
from search.budget import Budget, Levels
from search.fitness import Distance
from search.genome import KINDS, GenomeSpace
from search.options import TableMethod

Errors = NDArray[np.float64]

_LEAST_ERROR = 1e-12
_LARGEST_LOG = 300.0
_TYPICAL_SLOPE = 6.0  # of the error's logarithm from no level to all, for a gene measured once


@dataclass(frozen=True)
class Entry:
    """One measurement: `level` None is a stage's amplification, which has no kind of its own."""

    stage: int
    kind: UnitKind
    level: int | None

    @property
    def name(self) -> str:
        """Its key in files."""
        return f"{self.stage}/amplification" if self.level is None else f"{self.stage}/{self.kind}/{self.level}"


def middle_of(levels: Sequence[int]) -> int:
    """The measured level that says most about the others."""
    return levels[(len(levels) - 1) // 2]


def table_passes(executed: Sequence[int], levels: Sequence[int], method: TableMethod) -> list[list[Entry]]:
    """What has to be measured. The first pass, over each stage's middle level, makes a usable table by itself;
    every further one adds a level."""
    middle = middle_of(levels)
    passes = [
        [Entry(stage, kind, level) for stage in executed for kind in KINDS]
        for level in (middle, *(level for level in levels if level != middle))
    ]
    if method == "teacher-forced":
        passes[0] += [Entry(stage, KINDS[0], None) for stage in executed]
    return passes


def measure(entry: Entry, distance: Distance, levels: Sequence[int], method: TableMethod) -> float:
    """One entry; inf if its rollout is not finite."""
    if entry.level is None:
        value = _amplification(entry.stage, middle_of(levels), distance)
    elif method == "rollout":
        value = distance(distance.space.single(entry.stage, entry.kind, entry.level))
    else:
        heads, channels = (entry.level if kind == entry.kind else 0 for kind in KINDS)
        value = _stage_error(_run_stage(entry.stage, heads, channels, distance), distance)
    return value if isfinite(value) else inf


def errors_of(table: Mapping[str, float], space: GenomeSpace, budget: Budget, levels: Sequence[int]) -> Errors:
    """Errors [genes, levels + 1] from the entries measured, the other levels interpolated."""
    rows = np.zeros((space.genes, space.grid.parts + 1))
    for gene in budget.movable:
        stage, kind = int(gene) // len(KINDS), KINDS[int(gene) % len(KINDS)]
        factor = table.get(Entry(stage, kind, None).name, 1.0)
        measured = {level: Entry(stage, kind, level).name for level in levels}
        known = {level: table[name] * factor for level, name in measured.items() if name in table}
        rows[gene] = interpolated(list(known), list(known.values()), space.grid.parts)
    return rows


def predicted_error(errors: Errors, genome: Sequence[int] | Levels) -> float:
    """The additive model's objective of a genome."""
    return float(errors[np.arange(len(genome)), np.asarray(genome)].sum())


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


def _run_stage(stage: int, heads: int, channels: int, distance: Distance) -> State:
    rollouts, teacher = distance.rollouts, distance.teacher
    keys = [distance.space.grid.plan(heads, channels)] * len(rollouts.path.steps)
    start = teacher.states[rollouts.first_step(stage)]
    return rollouts.run(keys, start, teacher.labels, rollouts.end_step(stage))


def _stage_error(state: State, distance: Distance) -> float:
    dense = distance.teacher.states[state.index]
    return float((state.latents.double() - dense.latents.double()).square().mean())


def _amplification(stage: int, level: int, distance: Distance) -> float:
    """Final objective per squared error at the stage's end."""
    state = _run_stage(stage, level, level, distance)
    at_end = _stage_error(state, distance)
    if at_end == 0:
        return 1.0
    rollouts = distance.rollouts
    keys = [rollouts.dense] * len(rollouts.path.steps)
    final = rollouts.run(keys, state, distance.teacher.labels).latents
    return distance.between(final, distance.teacher.final) / at_end
