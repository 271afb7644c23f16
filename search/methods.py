"""What a search method brings: schedules to begin with, and how it goes on from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from search.baselines import first_genomes, level_switched, random_genome
from search.budget import Budget, Random
from search.error_table import Errors
from search.evolution import Evolution, Judge, Moment
from search.genome import Genome
from search.mu_plus_lambda import Breed, MuPlusLambda
from search.operators import Operators
from search.population import References, first_population, uniform_genome
from search.problem import Problem
from search.surrogate import Surrogate


class Strategy(Protocol):
    """A loop over generations that can go on from any moment between two of them."""

    def begin(self, population: list[Genome]) -> Moment: ...

    def run(self, moment: Moment, on_generation: Callable[[Moment], None]) -> None: ...


@dataclass(frozen=True)
class Proposal:
    """The first population and the strategy of a method, beside the uniform schedule it is measured against.

    Where the method measured an error table: the table's own answer too, and the objective it predicts of that.
    """

    population: list[Genome]
    strategy: Callable[[Judge], Strategy]
    uniform: Genome
    knapsack: Genome | None = None
    predicted: float | None = None


def informed(problem: Problem, errors: Errors) -> Proposal:
    """Our evolution, from the error table's answers and screened by them."""
    options, space, budget = problem.options, problem.space, problem.affordable(errors)
    random, surrogate = np.random.RandomState(options.seed), Surrogate(errors)
    references = References.of(errors, space, budget, random)
    return Proposal(
        population=first_population(references, errors, space, budget, options.population, random),
        strategy=lambda judge: Evolution(
            Operators(space, budget), surrogate, judge, options.survivors, options.generations, options.seed
        ),
        uniform=references.uniform if problem.memory is None else _uniform(problem),
        knapsack=references.knapsack,
        predicted=surrogate.predicted(references.knapsack),
    )


def baseline(problem: Problem) -> Proposal:
    """The method of the options that is not ours, on nothing but whole rollouts."""
    options, space, budget = problem.options, problem.space, problem.budget
    random = np.random.RandomState(options.seed)
    breed = _drawn(budget) if options.method == "random" else _switched(budget)
    offspring = options.population - options.survivors
    return Proposal(
        population=first_genomes(options.method, space, budget, options.population, random),
        strategy=lambda judge: MuPlusLambda(judge, breed, options.survivors, offspring, options.rounds, options.seed),
        uniform=_uniform(problem),
    )


def _uniform(problem: Problem) -> Genome:
    return uniform_genome(problem.space, problem.budget, np.random.RandomState(problem.options.seed))


def _switched(budget: Budget) -> Breed:
    def breed(parents: Sequence[Genome], random: Random) -> Genome:
        return level_switched(parents[random.randint(len(parents))], budget, random)

    return breed


def _drawn(budget: Budget) -> Breed:
    def breed(_parents: Sequence[Genome], random: Random) -> Genome:
        return random_genome(budget, random)

    return breed
