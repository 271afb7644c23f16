"""Evaluated genomes, in the order they were first evaluated."""

from collections.abc import Iterable
from itertools import islice
from math import inf, isfinite

from search.genome import Genome


class Memo:
    """Objective of every genome evaluated so far; a genome that failed (NaN) is held at inf."""

    def __init__(self, entries: Iterable[tuple[Iterable[int], float | None]] = ()) -> None:
        self._objectives = {tuple(genome): inf if value is None else value for genome, value in entries}

    def __len__(self) -> int:
        return len(self._objectives)

    def __contains__(self, genome: Genome) -> bool:
        return genome in self._objectives

    def __getitem__(self, genome: Genome) -> float:
        return self._objectives[genome]

    def add(self, genome: Genome, objective: float) -> None:
        """Keep an objective; anything not finite counts as inf."""
        self._objectives[genome] = objective if isfinite(objective) else inf

    @property
    def excluded(self) -> int:
        """Genomes whose rollout was not finite."""
        return sum(not isfinite(value) for value in self._objectives.values())

    def first(self, count: int) -> set[Genome]:
        """The first `count` genomes evaluated."""
        return set(islice(self._objectives, count))

    def best(self, count: int) -> list[Genome]:
        """The `count` genomes of least finite objective, best first, ties in order of evaluation."""
        finite = [genome for genome, value in self._objectives.items() if isfinite(value)]
        return sorted(finite, key=self._objectives.__getitem__)[:count]

    def entries(self) -> list[tuple[Genome, float | None]]:
        """For JSON: failures as None."""
        return [(genome, value if isfinite(value) else None) for genome, value in self._objectives.items()]

    def objectives(self) -> list[float]:
        """All objectives, in order of evaluation."""
        return list(self._objectives.values())
