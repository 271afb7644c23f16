"""The evolution, on PyGAD: the best `elite` live on, the others are crossed, switched and repaired.

An offspring is the one of a few mutants that the surrogate likes best: it is wrong about sums, but right enough to
spare most rollouts of hopeless schedules. What is left climbs the fidelity ladder.

With a second objective, what is saved, it is NSGA-II (Deb et al. 2002): non-dominated sorting and crowding
choose the survivors. PyGAD does not merge parents with their children by itself, but its next population is the elite
and its children: with half the population as elite and parents, that is the merge.

PyGAD draws every random number and keeps the loop; the operators, the memo and the checkpoint are ours. Its own
files are pickles and are never written.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import copysign, inf, log1p
from typing import Any, Protocol

import numpy as np
import pygad
from numpy.typing import NDArray

from search.budget import Levels, Random
from search.generators import restore, snapshot
from search.genome import Genome
from search.operators import Operators, select
from search.population import as_genome
from search.surrogate import Surrogate

_CROSSED = 0.5  # share of offspring with two parents; the others start as a copy of one
_SCREENED = 4  # new mutants of an offspring the error table chooses from
_TRIES = 16  # mutations of an offspring before one seen earlier is accepted

_LEAST_ERROR = 1e-12  # below it, differences of errors count as they are, above it by their logarithm
_LARGEST_ERROR = 1e6  # what failed counts as this

_SILENT = logging.getLogger("diffes.search.pygad")  # PyGAD logs every exception it passes on
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class Moves(Protocol):
    """How genomes become others: search/operators.py."""

    def crossed(self, mother: Levels, father: Levels, random: Random) -> Levels:
        """A child of two parents."""

    def around(self, genome: Levels, random: Random) -> Operators:
        """The operators that make mutants of a genome which can be compared with one another."""


class Judge(Protocol):
    """What the evolution asks of the fidelity ladder."""

    def __call__(self, genomes: Sequence[Genome], survivors: Sequence[Genome] = ()) -> list[float]:
        """Objectives, inf for genomes that failed or cannot be better than every survivor."""

    @property
    def seen(self) -> int:
        """Genomes asked for so far."""

    def first(self, count: int) -> list[Genome]:
        """The first `count` of them."""


@dataclass(frozen=True)
class Moment:
    """The evolution between two generations: all it needs to go on as if it had never stopped."""

    number: int
    population: list[Genome]
    seen: int  # genomes the judge has seen
    objectives: list[float]  # of the population
    random: Any = None  # PyGAD's generators as JSON; None before the first generation


@dataclass(frozen=True)
class Evolution:
    """What stays the same over generations. The surrogate screens offspring before the judge sees them.

    `saved`, what a genome saves of the cost (more than 0), is the second objective of NSGA-II; None minimises the
    error.
    """

    operators: Moves
    surrogate: Surrogate
    judge: Judge
    elite: int
    generations: int
    seed: int
    saved: Callable[[Genome], int] | None = None

    def fitness(self, genome: Genome, objective: float) -> float | list[float]:
        """What PyGAD maximises: one number, or finite ones of both objectives, the worst of all for a failure.

        The error's logarithm orders errors as they are, and spreads survivors over all its orders of magnitude.
        """
        if self.saved is None:
            return -objective
        if objective == inf:
            return [-_logarithmic(_LARGEST_ERROR), 0.0]
        return [-_logarithmic(min(objective, _LARGEST_ERROR)), float(self.saved(genome))]

    def begin(self, population: list[Genome]) -> Moment:
        """The first population, judged on every rung; its first genome before the others, should time be short."""
        self.judge(population[:1])
        objectives = self.judge(population)
        return Moment(0, population, self.judge.seen, objectives)

    def run(self, moment: Moment, on_generation: Callable[[Moment], None]) -> None:
        """The generations after `moment`, up to `generations`."""
        if moment.number >= self.generations:
            return
        breeder = _Breeder(self, moment)
        ga = pygad.GA(
            num_generations=self.generations - moment.number,
            num_parents_mating=self.elite,
            keep_elitism=self.elite,
            initial_population=np.array(moment.population, dtype=np.int64),
            gene_type=int,
            fitness_func=breeder.fitness,
            fitness_batch_size=len(moment.population),
            parent_selection_type=breeder.select if self.saved is None else "nsga2",
            crossover_type=breeder.cross,
            mutation_type=breeder.mutate,
            on_parents=breeder.survive,
            on_generation=lambda ga: on_generation(breeder.finished(ga)),
            random_seed=self.seed,
            suppress_warnings=True,
            logger=_SILENT,
        )
        if moment.random is not None:
            _restore(ga, moment.random)
        ga.run()


class _Breeder:
    """The operators in PyGAD's signatures, and what is known of the genomes of finished generations.

    PyGAD asks for the fitness of a population it was given: `known` answers for it, so that a genome the ladder has
    turned away is not judged by other survivors when a search resumes.
    """

    def __init__(self, evolution: Evolution, moment: Moment) -> None:
        self.evolution = evolution
        self.before = moment.number
        self.known = dict(zip(moment.population, moment.objectives, strict=True))
        self.seen = set(evolution.judge.first(moment.seen))
        self.survivors: list[Genome] = []

    def fitness(self, _ga: pygad.GA, genomes: NDArray[np.int64], _indices: list[int]) -> list[Any]:
        asked = [as_genome(genome) for genome in genomes]
        new = [genome for genome in asked if genome not in self.known]
        self.known |= zip(new, self.evolution.judge(new, self.survivors), strict=True)
        return [self.evolution.fitness(genome, self.known[genome]) for genome in asked]

    def finished(self, ga: pygad.GA) -> Moment:
        judge = self.evolution.judge
        self.seen = set(judge.first(judge.seen))
        population = [as_genome(genome) for genome in ga.population]
        objectives = [self.known[genome] for genome in population]
        self.known = dict(zip(population, objectives, strict=True))
        return Moment(self.before + ga.generations_completed, population, judge.seen, objectives, _snapshot(ga))

    def select(self, fitness: NDArray[np.float64], count: int, ga: pygad.GA) -> tuple[Levels, NDArray[np.intp]]:
        chosen = select(fitness, count)
        return ga.population[chosen].copy(), chosen

    def survive(self, _ga: pygad.GA, parents: Levels) -> None:
        survivors = [as_genome(genome) for genome in parents]
        self.survivors = [genome for genome in survivors if self.known[genome] < inf]

    def cross(self, parents: Levels, shape: tuple[int, int], ga: pygad.GA) -> Levels:
        random, operators = ga.numpy_random_generator, self.evolution.operators
        children = []
        for _ in range(shape[0]):
            mother, father = parents[random.randint(len(parents), size=2)]
            crossed = random.rand() < _CROSSED
            children.append(operators.crossed(mother, father, random) if crossed else mother.copy())
        return np.array(children)

    def mutate(self, offspring: Levels, ga: pygad.GA) -> Levels:
        taken = set(self.seen)
        children = []
        for start in offspring:
            child = self._mutant(start, taken, ga.numpy_random_generator)
            taken.add(as_genome(child))
            children.append(child)
        return np.array(children)

    def _mutant(self, start: Levels, taken: set[Genome], random: Random) -> Levels:
        """The most promising of a few new mutants; any mutant if none is new."""
        operators = self.evolution.operators.around(start, random)
        new: list[Levels] = []
        for _ in range(_TRIES):
            mutant = operators.mutated(start, random)
            if as_genome(mutant) not in taken:
                new.append(mutant)
            if len(new) == _SCREENED:
                break
        return min(new, key=self.evolution.surrogate.predicted, default=mutant)


def _logarithmic(error: float) -> float:
    """The error's logarithm, made fit for 0 and for scores that may be negative; it keeps their order."""
    return copysign(log1p(abs(error) / _LEAST_ERROR), error)


def _snapshot(ga: pygad.GA) -> Any:
    """PyGAD's two generators as JSON."""
    version, state, following = ga.python_random_generator.getstate()
    return {"numpy": snapshot(ga.numpy_random_generator), "python": [version, list(state), following]}


def _restore(ga: pygad.GA, stored: Any) -> None:
    restore(ga.numpy_random_generator, stored["numpy"])
    version, state, following = stored["python"]
    ga.python_random_generator.setstate((version, tuple(state), following))
