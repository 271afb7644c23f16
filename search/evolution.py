"""The evolution, on PyGAD: the best `elite` live on, the others are crossed, switched and repaired.

An offspring is the one of a few mutants that the error table likes best: the table is wrong about sums, but right
enough to spare most rollouts of hopeless schedules.

PyGAD draws every random number and keeps the loop; the operators, the memo and the checkpoint are ours. Its own
files are pickles and are never written.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygad
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random
from search.error_table import Errors, predicted_error
from search.genome import Genome
from search.memo import Memo
from search.operators import cross, select, switch_levels

_CROSSED = 0.5  # share of offspring with two parents; the others start as a copy of one
_SCREENED = 4  # new mutants of an offspring the error table chooses from
_TRIES = 16  # mutations of an offspring before one seen earlier is accepted

_SILENT = logging.getLogger("diffes.search.pygad")  # PyGAD logs every exception it passes on
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Moment:
    """The evolution between two generations: all it needs to go on as if it had never stopped."""

    number: int
    population: list[Genome]
    evaluated: int  # genomes in the memo
    random: Any = None  # PyGAD's generators as JSON; None before the first generation


@dataclass(frozen=True)
class Evolution:
    """What stays the same over generations.

    `errors` [genes, levels + 1] predict objectives by their sum; `evaluate` returns one (inf: failed).
    """

    budget: Budget
    errors: Errors
    memo: Memo
    evaluate: Callable[[Genome], float]
    elite: int
    generations: int
    seed: int

    def run(self, moment: Moment, on_generation: Callable[[Moment], None]) -> None:
        """The generations after `moment`, whose population has been evaluated, up to `generations`."""
        if moment.number >= self.generations:
            return
        breeder = _Breeder(self.budget, self.errors, self.memo.first(moment.evaluated))
        ga = pygad.GA(
            num_generations=self.generations - moment.number,
            num_parents_mating=self.elite,
            keep_elitism=self.elite,
            initial_population=np.array(moment.population, dtype=np.int64),
            gene_type=int,
            fitness_func=self._fitness,
            fitness_batch_size=len(moment.population),
            parent_selection_type=breeder.select,
            crossover_type=breeder.cross,
            mutation_type=breeder.mutate,
            on_generation=lambda ga: on_generation(self._finished(ga, moment.number, breeder)),
            random_seed=self.seed,
            suppress_warnings=True,
            logger=_SILENT,
        )
        if moment.random is not None:
            _restore(ga, moment.random)
        ga.run()

    def _fitness(self, _ga: pygad.GA, genomes: NDArray[np.int64], _indices: list[int]) -> list[float]:
        return [-self.evaluate(_genome(genome)) for genome in genomes]

    def _finished(self, ga: pygad.GA, before: int, breeder: "_Breeder") -> Moment:
        breeder.seen = self.memo.first(len(self.memo))
        population = [_genome(genome) for genome in ga.population]
        return Moment(before + ga.generations_completed, population, len(self.memo), _snapshot(ga))


class _Breeder:
    """The operators in PyGAD's signatures; `seen` are the genomes evaluated in finished generations."""

    def __init__(self, budget: Budget, errors: Errors, seen: set[Genome]) -> None:
        self.budget = budget
        self.errors = errors
        self.seen = seen

    def select(self, fitness: NDArray[np.float64], count: int, ga: pygad.GA) -> tuple[Levels, NDArray[np.intp]]:
        chosen = select(fitness, count)
        return ga.population[chosen].copy(), chosen

    def cross(self, parents: Levels, shape: tuple[int, int], ga: pygad.GA) -> Levels:
        random = ga.numpy_random_generator
        children = []
        for _ in range(shape[0]):
            mother, father = parents[random.randint(len(parents), size=2)]
            crossed = random.rand() < _CROSSED
            children.append(cross(mother, father, self.budget, random) if crossed else mother.copy())
        return np.array(children)

    def mutate(self, offspring: Levels, ga: pygad.GA) -> Levels:
        taken = set(self.seen)
        children = []
        for start in offspring:
            child = self._mutant(start, taken, ga.numpy_random_generator)
            taken.add(_genome(child))
            children.append(child)
        return np.array(children)

    def _mutant(self, start: Levels, taken: set[Genome], random: Random) -> Levels:
        """The most promising of a few new mutants; any mutant if none is new."""
        new: list[Levels] = []
        for _ in range(_TRIES):
            mutant = switch_levels(start, self.budget, random)
            if _genome(mutant) not in taken:
                new.append(mutant)
            if len(new) == _SCREENED:
                break
        return min(new, key=lambda levels: predicted_error(self.errors, levels), default=mutant)


def _genome(levels: Levels) -> Genome:
    return tuple(int(level) for level in levels)


def _snapshot(ga: pygad.GA) -> Any:
    """PyGAD's two generators as JSON."""
    name, words, position, has_gauss, gauss = ga.numpy_random_generator.get_state()
    version, state, following = ga.python_random_generator.getstate()
    return {
        "numpy": [name, [int(word) for word in words], int(position), int(has_gauss), float(gauss)],
        "python": [version, list(state), following],
    }


def _restore(ga: pygad.GA, snapshot: Any) -> None:
    name, words, position, has_gauss, gauss = snapshot["numpy"]
    ga.numpy_random_generator.set_state((name, np.array(words, dtype=np.uint32), position, has_gauss, gauss))
    version, state, following = snapshot["python"]
    ga.python_random_generator.setstate((version, tuple(state), following))
