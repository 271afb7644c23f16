"""The search of one schedule within one budget: evolve from the knapsack's answer, choose on held-out noise."""

import numpy as np

from diffes.schedule import Schedule
from search.base_job import Ground, Job
from search.ladder import Ladder, Rung
from search.operators import Operators
from search.population import References, first_population
from search.report import Findings, write_report
from search.selection import choose, finalists
from search.surrogate import Surrogate


class ScheduleJob(Job[Schedule]):
    """One run of it."""

    @property
    def _asked(self) -> str:
        return f"remove {self.options.share:.1%}"

    @property
    def _last_judged(self) -> int:
        return self.options.candidates + 1

    def _ladder(self, rungs: tuple[Rung, ...]) -> Ladder:
        return Ladder(rungs)

    def _search(self, ground: Ground) -> Schedule:
        space, budget, errors = self.problem.space, self.problem.budget, ground.errors
        random = np.random.RandomState(self.options.seed)
        references = References.of(errors, space, budget, random)
        population = first_population(references, errors, space, budget, self.options.population, random)
        self._evolve(population, Operators(space, budget), ground)
        genomes = finalists(self.ladder.memo, self.options.candidates, references.uniform)
        held_out = self._on_held_out(genomes, ground)
        findings = Findings(
            problem=self.problem,
            state=self.log.state,
            memo=self.ladder.memo,
            held_out=held_out,
            references=references,
            predicted=Surrogate(errors).predicted(references.knapsack),
            chosen=choose(genomes, held_out),
            calibration=ground.calibration,
            evaluations=self.log.evaluations,
        )
        schedule = write_report(findings, self.log.out)
        self.log.say(findings.summary())
        return schedule
