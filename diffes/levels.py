"""Levels: how much a stage loses in one layer, in equal parts.

Level L of H keeps the first H-L parts. H divides every prunable layer, so a level is a whole number of units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from diffes.errors import ScheduleError
from diffes.schedule import BlockPlan, StagePlan


@dataclass(frozen=True, slots=True)
class LevelGrid:
    """The levels a model offers: its dense plan cut into `parts` equal parts."""

    dense: StagePlan
    parts: int

    @classmethod
    def of(cls, dense: StagePlan) -> "LevelGrid":
        """The finest grid that cuts between heads: parts = gcd of all head counts."""
        return cls(dense, gcd(*(block.heads for block in dense)))

    def __post_init__(self) -> None:
        for block in self.dense:
            if block.heads % self.parts or block.channels % self.parts:
                raise ScheduleError(
                    "levels must be whole numbers of units",
                    expected=f"heads and channels divisible by {self.parts}",
                    found=tuple(block),
                )

    def plan(self, heads_level: int, channels_level: int) -> StagePlan:
        """The stage plan that loses `heads_level` and `channels_level` parts in every block."""
        return self.plan_blocks([(heads_level, channels_level)] * len(self.dense))

    def plan_blocks(self, levels: Sequence[tuple[int, int]]) -> StagePlan:
        """The stage plan of one (heads level, channels level) pair per block."""
        return tuple(
            BlockPlan(self._keep(block.heads, heads), self._keep(block.channels, channels))
            for block, (heads, channels) in zip(self.dense, levels, strict=True)
        )

    def levels(self, plan: StagePlan) -> list[tuple[int, int]]:
        """One (heads level, channels level) pair per block; ScheduleError for a plan between the levels."""
        if len(plan) != len(self.dense):
            raise ScheduleError("the plan has too few or too many blocks", expected=len(self.dense), found=len(plan))
        levels = [
            tuple(self.parts - kept * self.parts // whole for kept, whole in zip(block, dense, strict=True))
            for block, dense in zip(plan, self.dense, strict=True)
        ]
        pairs = [(heads, channels) for heads, channels in levels]
        for number, (pair, block) in enumerate(zip(pairs, plan, strict=True)):
            if min(pair) < 0 or self.plan_blocks([pair] * len(plan))[number] != block:
                raise ScheduleError(
                    f"block {number} lies between the levels",
                    expected=f"heads and channels in whole parts of {self.parts} of {tuple(self.dense[number])}",
                    found=tuple(block),
                )
        return pairs

    def uniform_level(self, share: float) -> int:
        """The level that removes exactly `share` of every layer; ScheduleError off the grid."""
        level = share * self.parts
        if not (0 <= share <= 1 and abs(level - round(level)) < 1e-9):
            offered = ", ".join(f"{i / self.parts:g}" for i in range(self.parts + 1))
            raise ScheduleError(
                "no uniform level removes that share",
                expected=f"one of {offered}",
                found=share,
                remedy="`diffes search` reaches shares between them.",
            )
        return round(level)

    def _keep(self, units: int, level: int) -> int:
        if not 0 <= level <= self.parts:
            raise ScheduleError("no such level", expected=f"0..{self.parts}", found=level)
        return units - units * level // self.parts
