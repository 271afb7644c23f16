"""The fidelity ladder: a genome climbs from a few probes to all of them as long as it may still be among the best.

Rungs hold probes of their own, and an objective is the mean of those of all rungs weighted by their probes, so
nothing a lower rung found is found again. On the same probes genomes differ far less by luck than on different ones:
one that is worse than every survivor on the first rung is not run on the next. Where genomes differ in cost, those
that cost less are worse by nature, so only survivors of no greater cost count, and one better of them is enough.

Whether a genome passes depends on it and on the survivors alone, not on its siblings: evaluators may take genomes in
any order and company.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from search.genome import Genome
from search.memo import Memo


@dataclass(frozen=True)
class Rung:
    """Some of the probes: how many, what is known on them, and what finds out: `evaluate` adds to `memo`."""

    probes: int
    memo: Memo
    evaluate: Callable[[Sequence[Genome]], None]


@dataclass(frozen=True)
class Ladder:
    """Rungs from the first probes to the last."""

    rungs: tuple[Rung, ...]

    def __call__(self, genomes: Sequence[Genome], survivors: Sequence[Genome] = ()) -> list[float]:
        """Objectives; inf for genomes that failed, or are worse on a lower rung than every one of `survivors`.

        Without survivors every genome climbs to the top.
        """
        climbing = list(dict.fromkeys(genomes))
        for number, rung in enumerate(self.rungs):
            missing = [genome for genome in climbing if genome not in rung.memo]
            if missing:
                rung.evaluate(missing)
            standings = {genome: self._standing(genome, number) for genome in survivors}
            climbing = [g for g in climbing if rung.memo[g] < inf and self._climbs(g, number, standings)]
        passed = set(climbing)
        return [self._standing(g, len(self.rungs) - 1) if g in passed else inf for g in genomes]

    @property
    def memo(self) -> Memo:
        """Objectives of the genomes that reached the top or failed below it, in the order of their first probes."""
        found = Memo()
        for genome in self.rungs[0].memo.first(len(self.rungs[0].memo)):
            known = [rung.memo[genome] for rung in self.rungs if genome in rung.memo]
            if len(known) == len(self.rungs):
                found.add(genome, self._standing(genome, len(known) - 1))
            elif inf in known:
                found.add(genome, inf)
        return found

    @property
    def seen(self) -> int:
        """Genomes that have been on the first rung."""
        return len(self.rungs[0].memo)

    def first(self, count: int) -> list[Genome]:
        """The first `count` genomes seen."""
        return self.rungs[0].memo.first(count)

    def _climbs(self, genome: Genome, number: int, standings: Mapping[Genome, float]) -> bool:
        """Whether a genome may still be among the best, by its standing on a rung and the survivors' there."""
        return self._standing(genome, number) <= max(standings.values(), default=inf)

    def _standing(self, genome: Genome, number: int) -> float:
        """Mean objective over the probes of the first rungs, up to one."""
        rungs = self.rungs[: number + 1]
        return sum(rung.probes * rung.memo[genome] for rung in rungs) / sum(rung.probes for rung in rungs)


@dataclass(frozen=True)
class FrontLadder(Ladder):
    """The ladder to a Pareto front of error against cost; `saved` is what a genome saves.

    On a lower rung a genome climbs on unless a survivor that saves no less is better there.
    """

    saved: Callable[[Genome], int]

    def _climbs(self, genome: Genome, number: int, standings: Mapping[Genome, float]) -> bool:
        if number == len(self.rungs) - 1:
            return True  # dominated or not, it has been judged
        own = self.saved(genome)
        rivals = (standing for survivor, standing in standings.items() if self.saved(survivor) >= own)
        return self._standing(genome, number) <= min(rivals, default=inf)
