"""From whole plans timed to what each half costs: which plans to time, and the least squares that takes them apart.

Halves are measured in place, never alone: a half in a loop by itself finds its weights in cache and its neighbours'
launches missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from diffes.architectures import Architecture
from diffes.latency.table import BlockCost, HalfCost
from diffes.levels import LevelGrid
from diffes.schedule import BlockPlan, StagePlan

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Blocks of one shape, which cost the same, and the widths at which their halves are measured, from 0 up."""

    blocks: tuple[int, ...]
    heads: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Fitted:
    """Nanoseconds: a step's rest, and the halves of each group."""

    rest: int
    costs: tuple[BlockCost, ...]


def groups_of(architecture: Architecture) -> tuple[Group, ...]:
    """Blocks by what they keep when dense and by the MACs of each half, in order of their first block."""
    grid = LevelGrid.of(architecture.dense)
    alike: dict[object, list[int]] = {}
    for block, dense in enumerate(architecture.dense):
        without = [BlockPlan(0, dense.channels), BlockPlan(dense.heads, 0)]
        macs = [architecture.macs(_with(architecture.dense, [block], plan)) for plan in without]
        alike.setdefault((dense, *macs), []).append(block)
    return tuple(_group(tuple(blocks), architecture.dense, grid.parts) for blocks in alike.values())


def plans_to_time(dense: StagePlan, groups: Sequence[Group]) -> list[StagePlan]:
    """The dense plan, the one of no halves, and for each group every width of one half, of the other, and of both.

    What is not varied is dense: halves are measured where a search will use them, not beside empty ones.
    """
    plans = [dense, (BlockPlan(0, 0),) * len(dense)]
    for group in groups:
        whole = dense[group.blocks[0]]
        pairs = zip(group.heads, group.channels, strict=True)
        kept = [BlockPlan(*both) for h, c in pairs for both in ((h, whole.channels), (whole.heads, c), (h, c))]
        plans += [_with(dense, group.blocks, block) for block in kept]
    return list(dict.fromkeys(plans))


def random_plans(groups: Sequence[Group], count: int, seed: int) -> list[StagePlan]:
    """Whole plans of any width for any half of any block; the first one may skip halves, too.

    One alone: where a graph is written for every set of skipped halves, each such plan takes as long as all others.
    """
    random = np.random.default_rng(seed)
    blocks = {block: group for group in groups for block in group.blocks}
    plans = []
    for number in range(count):
        least = min(number, 1)
        kept = []
        for block in range(len(blocks)):
            group = blocks[block]
            heads, channels = (int(random.choice(widths[least:])) for widths in (group.heads, group.channels))
            kept.append(BlockPlan(heads, channels))
        plans.append(tuple(kept))
    return plans


def fit(plans: Sequence[StagePlan], seconds: Float64, groups: Sequence[Group]) -> Fitted:
    """The costs, never negative and never falling with width, whose sums come nearest to `seconds` [plans].

    Nearest in relative error. Unknowns are the steps from each width to the next, which non-negative least squares
    keeps at 0 or more.
    """
    counts = np.array([[1.0, *_steps_taken(plan, groups)] for plan in plans])
    solved, _ = nnls(counts / seconds[:, None], np.ones(len(plans)))
    steps = iter(solved[1:] * 1e9)
    costs = [
        BlockCost(blocks=group.blocks, attention=_half(group.heads, steps), mlp=_half(group.channels, steps))
        for group in groups
    ]
    return Fitted(round(solved[0] * 1e9), tuple(costs))


def _steps_taken(plan: StagePlan, groups: Sequence[Group]) -> Iterator[int]:
    """For each step from a width to the next, group by group, heads before channels: how many blocks go that far."""
    for group in groups:
        blocks = [plan[block] for block in group.blocks]
        for width in group.heads[1:]:
            yield sum(block.heads >= width for block in blocks)
        for width in group.channels[1:]:
            yield sum(block.channels >= width for block in blocks)


def _half(widths: tuple[int, ...], steps: Iterator[float]) -> HalfCost:
    rising = np.cumsum([0.0, *(next(steps) for _ in widths[1:])])
    return HalfCost(widths=widths, nanoseconds=tuple(round(value) for value in rising.tolist()))


def _group(blocks: tuple[int, ...], dense: StagePlan, parts: int) -> Group:
    whole = dense[blocks[0]]
    heads, channels = (tuple(units * i // parts for i in range(parts + 1)) for units in whole)
    return Group(blocks, heads, channels)


def _with(plan: StagePlan, blocks: Sequence[int], kept: BlockPlan) -> StagePlan:
    return tuple(kept if block in blocks else whole for block, whole in enumerate(plan))
