"""A plain (mu + lambda) loop: the best mu schedules live on, lambda new ones come from them, nothing is screened.

It is the frame of published baselines, kept apart from our own evolution so that neither lends the other anything.
With one schedule and no generations it judges that schedule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.budget import Random
from search.evolution import Judge, Moment
from search.generators import restore, snapshot
from search.genome import Genome

Breed = Callable[[Sequence[Genome], Random], Genome]  # one new genome from the parents, best first


@dataclass(frozen=True)
class MuPlusLambda:
    """What stays the same over generations: `mu` parents, `offspring` of each generation, and how one is made."""

    judge: Judge
    breed: Breed
    mu: int
    offspring: int
    generations: int
    seed: int

    def begin(self, population: list[Genome]) -> Moment:
        """The first population, judged."""
        objectives = self.judge(population)
        return Moment(0, population, self.judge.seen, objectives)

    def run(self, moment: Moment, on_generation: Callable[[Moment], None]) -> None:
        """The generations after `moment`, up to `generations`; from a stored moment as if it had never stopped."""
        random = self._random(moment)
        while moment.number < self.generations:
            ranked = sorted(range(len(moment.population)), key=moment.objectives.__getitem__)
            parents = [moment.population[index] for index in ranked[: self.mu]]
            population = parents + [self.breed(parents, random) for _ in range(self.offspring)]
            objectives = self.judge(population)
            moment = Moment(moment.number + 1, population, self.judge.seen, objectives, snapshot(random))
            on_generation(moment)

    def _random(self, moment: Moment) -> Random:
        random = np.random.RandomState([self.seed, 1])  # the first population is drawn from the seed alone
        if moment.random is not None:
            restore(random, moment.random)
        return random
