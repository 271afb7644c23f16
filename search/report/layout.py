"""Where the levels of a genome belong, worked out from a search's files alone: stages, runs of blocks, halves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffes.architectures.base import UnitKind
from search.genome import KINDS

HALVES: dict[UnitKind, str] = {"heads": "attention heads", "channels": "MLP channels"}


@dataclass(frozen=True)
class Layout:
    """`parts` of a half that levels count, the lengths of the runs of blocks, the steps run in each stage.

    `tied` genes are one level for both halves.
    """

    parts: int
    groups: tuple[int, ...]
    executed: tuple[int, ...]
    tied: bool

    @property
    def stages(self) -> int:
        """Stages, noisy to clean, those without a step included."""
        return len(self.executed)

    @property
    def rows(self) -> list[str]:
        """What each run of blocks is called."""
        starts = np.cumsum([0, *self.groups])
        names = []
        for start, blocks in zip(starts, self.groups, strict=False):
            last = start + blocks - 1
            names.append(f"block {start}" if blocks == 1 else f"blocks {start}–{last}")
        return names if len(names) > 1 else [f"all {self.groups[0]} blocks"]

    def levels(self, genome: Sequence[int], kind: UnitKind) -> NDArray[np.int64]:
        """Levels [runs of blocks, stages] of one half."""
        cell = 1 if self.tied else 2
        cells = np.array(genome).reshape(self.stages, len(self.groups), cell)
        return cells[:, :, min(KINDS.index(kind), cell - 1)].T

    def kept(self, genome: Sequence[int], kind: UnitKind) -> NDArray[np.float64]:
        """Shares kept [runs of blocks, stages] of one half; 0 is a skipped half."""
        return 1 - self.levels(genome, kind) / self.parts

    def gene(self, stage: int, group: int, kind: UnitKind) -> str:
        """A gene's key in files."""
        return f"{stage}/{group}/{'both' if self.tied else kind}"
