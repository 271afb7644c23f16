"""The search of one schedule within one budget, by our evolution or a baseline; the choice is on held-out noise."""

from diffes.schedule import Schedule
from search.base_job import Ground, Job
from search.ladder import Ladder, Rung
from search.methods import Proposal, baseline, informed
from search.report import Findings, write_report
from search.selection import choose, finalists, first_choice


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
        proposal = self._proposal(ground)
        self._evolve(proposal.population, proposal.strategy, ground)
        genomes = finalists(self.ladder.memo, self.options.candidates, proposal.uniform)
        held_out = self._on_held_out(genomes, ground)
        ours = self.options.method == "evolution"
        fitting = [genome for genome in genomes if self.problem.fits(genome)]
        findings = Findings(
            problem=self.problem,
            state=self.log.state,
            memo=self.ladder.memo,
            held_out=held_out,
            uniform=proposal.uniform,
            knapsack=proposal.knapsack,
            predicted=proposal.predicted,
            # a baseline answers by its own probes; what it is on held-out noise is told beside it
            chosen=choose(fitting, held_out) if ours else first_choice(self.ladder.memo),
            calibration=ground.calibration,
            evaluations=self.log.evaluations,
        )
        schedule = write_report(findings, self.log.out)
        self.log.say(findings.summary())
        return schedule

    def _proposal(self, ground: Ground) -> Proposal:
        if self.options.method != "evolution":
            return baseline(self.problem)
        return informed(self.problem, self._tabulate(ground))
