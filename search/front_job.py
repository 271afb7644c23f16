"""The search of a Pareto front over a range of budgets: evolve by NSGA-II, judge the archive on held-out noise.

What is on the front of the probes it was chosen on owes some of that to luck: the archive is judged again on noise
and labels the search never saw, together with the uniform schedules, and the front is what is not dominated there.
"""

import numpy as np

from diffes.errors import SearchError
from diffes.pareto import ParetoFront
from search.archive import Point, archive_of
from search.base_job import Ground, Job
from search.distribution import Evaluators
from search.error_table import Errors
from search.evolution import Evolution, Judge
from search.front_population import FrontReferences, first_front
from search.ladder import FrontLadder, Ladder, Rung
from search.logbook import Logbook
from search.operators import RangeOperators
from search.problem import Problem
from search.report.front_findings import FrontFindings, write_front
from search.surrogate import Surrogate


class FrontJob(Job[ParetoFront]):
    """One run of it."""

    def __init__(self, problem: Problem, log: Logbook, evaluators: Evaluators) -> None:
        super().__init__(problem, log, evaluators)
        self.references = FrontReferences((), ())

    @property
    def _asked(self) -> str:
        low, high = self.options.shares
        return f"a front that removes {low:.1%} to {high:.1%}"

    @property
    def _last_judged(self) -> int:
        return len(self._archive()) + len(self.references.uniforms)

    def _ladder(self, rungs: tuple[Rung, ...]) -> Ladder:
        return FrontLadder(rungs, self.problem.budgets.counted)

    def _search(self, ground: Ground) -> ParetoFront:
        space, budgets, size = self.problem.space, self.problem.budgets, self.options.population
        random = np.random.RandomState(self.options.seed)
        errors = self._tabulate(ground)
        self.references = FrontReferences.of(errors, space, budgets, size, random)
        population = first_front(self.references, errors, space, budgets, size, random)
        self._evolve(population, lambda judge: self._evolution(errors, judge), ground)
        archive = self._archive()
        genomes = dict.fromkeys((*(point.genome for point in archive), *self.references.uniforms))
        held_out = self._on_held_out(list(genomes), ground)
        front = archive_of(held_out.entries(), budgets.counted)
        if not front:
            raise SearchError(
                "no schedule's samples are finite",
                expected="at least one",
                found=f"{len(genomes)} schedules that diverge",
                remedy="Remove less, or search in float32 or with compensation.",
            )
        findings = FrontFindings(
            problem=self.problem,
            state=self.log.state,
            ladder=self.ladder,
            references=self.references,
            archive=archive,
            held_out=held_out,
            front=front,
            calibration=ground.calibration,
            evaluations=self.log.evaluations,
        )
        found = write_front(findings, self.log.out)
        self.log.say(findings.summary())
        return found

    def _evolution(self, errors: Errors, judge: Judge) -> Evolution:
        options, budgets = self.options, self.problem.budgets
        operators = RangeOperators(self.problem.space, budgets)
        surrogate, elite = Surrogate(errors), options.survivors
        return Evolution(operators, surrogate, judge, elite, options.generations, options.seed, budgets.counted)

    def _archive(self) -> list[Point]:
        """The front on the probes so far."""
        return archive_of(self.ladder.memo.entries(), self.problem.budgets.counted)
