"""How much denoising a search did: the axis that search methods are compared on.

One evaluation is one row of one step of the dense model; a pruned row counts by its share of the dense MACs, and
guidance runs two rows an image. Counts are kept in whole MACs, so that they are exact and add up in any order. Work
is counted when its result is kept: what a kill threw away is not, and a resumed search counts as one never stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluations:
    """Work by phase in MACs, beside what a row of one dense step takes; `macs` is the search state's own."""

    macs: dict[str, int]
    dense: int

    def add(self, phase: str, macs: int) -> None:
        """Count work of a phase."""
        self.macs[phase] = self.macs.get(phase, 0) + macs

    def of(self, phase: str) -> float:
        """Evaluations of one phase, in dense row-steps."""
        return self.macs.get(phase, 0) / self.dense

    @property
    def total(self) -> float:
        """Evaluations of all phases."""
        return sum(self.macs.values()) / self.dense

    def report(self) -> Mapping[str, float]:
        """Evaluations by phase and in total, rounded to hundredths."""
        return {phase: round(self.of(phase), 2) for phase in self.macs} | {"total": round(self.total, 2)}
