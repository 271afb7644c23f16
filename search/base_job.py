"""What every search does, whatever it evolves: calibrate, roll the dense model out, tabulate, judge, evolve.

Every result is in the logbook before the next begins, so a killed search resumes where it was.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from diffes.pruning.cache import calibration_for
from diffes.pruning.calibration import CALIBRATION_FILE, Calibration
from search.clock import OutOfTime
from search.distribution import Evaluators
from search.error_table import Errors, ErrorTable, errors_of
from search.evolution import Judge
from search.fitness import Distance, Evaluator
from search.genome import Genome
from search.ladder import Ladder, Rung
from search.logbook import Logbook
from search.memo import Memo
from search.methods import Strategy
from search.problem import Problem
from search.progress import Advance
from search.report import write_table
from search.rollouts import Rollouts

_MARGIN = 1.5
_TABLE_SHARE = 0.6  # of the time limit has passed: what is left is for whole rollouts

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ground:
    """What a search stands on before it proposes anything: the ordering, the model's rollouts, and the dense model's
    own samples to be close to."""

    calibration: Calibration
    rollouts: Rollouts
    distance: Distance


class Job(ABC, Generic[Result]):
    """One run of a search: the problem, and the logbook of what is known of it."""

    def __init__(self, problem: Problem, log: Logbook, evaluators: Evaluators) -> None:
        self.problem = problem
        self.options = problem.options
        self.log = log
        self.evaluators = evaluators
        self.ladder = Ladder(())
        self.evolution_began = 0.0
        self.seconds_of = {"teacher": 0.0, "image": 0.0}  # as they last took, to foresee the next

    def run(self) -> Result:
        """Search and leave the result's files; what an interruption or an error leaves can be resumed."""
        self.log.say(self._intention())
        self.log.save(now=True)
        try:
            return self._search(self._prepare())
        finally:
            self.log.save(now=True)

    @property
    @abstractmethod
    def _asked(self) -> str:
        """What is asked for, in a few words."""

    @property
    @abstractmethod
    def _last_judged(self) -> int:
        """How many genomes the choice on held-out probes will judge."""

    @abstractmethod
    def _search(self, ground: Ground) -> Result:
        """Evolve, choose, write."""

    @abstractmethod
    def _ladder(self, rungs: tuple[Rung, ...]) -> Ladder:
        """What decides how far a genome is judged."""

    def _prepare(self) -> Ground:
        calibration = self._calibrate()
        rollouts = self.problem.rollouts(calibration)
        return Ground(calibration, rollouts, self._distance("teacher", rollouts))

    def _intention(self) -> str:
        options, space = self.options, self.problem.space
        budget = self.problem.budget
        limit = f", at most {options.time_limit:.0f} s" if options.time_limit else ""
        entries = sum(map(len, self.problem.passes))
        table = f" {entries} table entries on {options.table_probes} images," if entries else ""
        return (
            f"search ({options.method}): {self._asked} of the {budget.unit} of a row's trajectory"
            f" (at most {budget.reachable / budget.dense:.1%} can go) by {len(budget.movable)} genes of"
            f" {space.top + 1} levels;{table} up to {options.planned} schedules on {options.probes} images{limit}"
        )

    def _count_once(self, phase: str, images: int) -> None:
        """Count dense trajectories of so many images, unless an earlier run of this search has."""
        if phase not in self.log.evaluations.macs:
            rows = images if self.options.guidance == 1 else 2 * images
            self.log.evaluations.add(phase, rows * len(self.problem.step_stages) * self.problem.dense_macs)

    def _calibrate(self) -> Calibration:
        checkpoint, path = self.problem.checkpoint, self.log.out / CALIBRATION_FILE
        spec = self.options.calibration_spec(checkpoint)
        with self.log.phase("calibrate") as advance:
            if path.exists():
                made = Calibration.load(path, checkpoint, spec)
            else:
                data = Path(self.options.calibration_data) if self.options.calibration_data else None
                made = calibration_for(checkpoint, spec, data=data, device=self.options.device, progress=advance)
                made.save(path)
        self._count_once("calibrate", spec.images)
        return made

    def _distance(self, phase: str, rollouts: Rollouts, *, held_out: bool = False) -> Distance:
        start = monotonic()
        with self.log.phase(phase):
            distance = self.problem.distance(rollouts, held_out=held_out)
        self.seconds_of["teacher"] = monotonic() - start
        self._count_once(phase, self.options.probes)
        return distance

    def _tabulate(self, ground: Ground) -> Errors:
        distance = ground.distance.rows(slice(0, self.options.table_probes))
        levels, table, passes = self.problem.table_levels, self.log.state.table, self.problem.passes
        measured = ErrorTable(distance, self.options.table)
        total = sum(map(len, passes))
        missing = [entry for entries in passes for entry in entries if entry.name not in table]
        with self.log.phase("table") as advance:
            found = self.evaluators.measured(distance, self.options.table, missing)
            for entry in missing:
                if len(table) >= len(passes[0]) and self.log.clock.share(0, 0) > _TABLE_SHARE:
                    self.log.say(f"the time limit stopped the table after {len(table)} of {total} entries")
                    break
                table[entry.name] = next(found)
                self.log.evaluations.add("table", measured.work(entry))
                self.log.save()
                advance(len(table) / total)
        errors = errors_of(table, self.problem.space, self.problem.budget, levels)
        write_table(self.problem, table, errors, self.log.out)
        return errors

    def _evolve(
        self,
        population: list[Genome],
        strategy_of: Callable[[Judge], Strategy],
        ground: Ground,
    ) -> None:
        """Generations until there are enough or the time is over."""
        options, state = self.options, self.log.state
        self.evolution_began = self.log.clock.elapsed
        with self.log.phase("evolve") as advance:
            self.ladder = self._ladder(tuple(self._rung(ground, rows, advance) for rows in options.rungs))
            strategy = strategy_of(self.ladder)
            try:
                if not state.generations:
                    self.log.record(strategy.begin(population))
                strategy.run(self.log.moment(), self.log.record)
                state.stopped = "generations"
            except OutOfTime:
                state.stopped = "time limit"
        if state.stopped == "time limit":
            done = len(state.generations) - 1
            self.log.say(
                f"the time limit stopped the evolution after {max(done, 0)} of {options.rounds} generations"
                f" and {self.ladder.seen} schedules; another run may find another schedule"
            )
        self.log.save(now=True)

    def _rung(self, ground: Ground, rows: slice, advance: Advance) -> Rung:
        """Judge genomes on some of the probes, as long as the clock allows after the first schedule."""
        memo = self.log.memo(self.problem.memo_key(ground.calibration, rows))
        evaluator = self.evaluators.evaluator(ground.distance.rows(rows))

        def evaluate(genomes: Sequence[Genome]) -> None:
            for _ in self._judged(genomes, evaluator, memo, "evolve"):
                passed = self.log.clock.share(self.evolution_began, self._selection_seconds())
                advance(max(self.ladder.seen / self.options.planned, passed))

        return Rung(rows.stop - rows.start, memo, evaluate)

    def _judged(self, genomes: Sequence[Genome], evaluator: Evaluator, memo: Memo, phase: str) -> Iterator[int]:
        """Judge genomes; yields how many are done. The evolution stops short of the time limit."""
        probes, began = len(evaluator.distance.teacher.prompts), monotonic()
        objectives = evaluator(genomes)
        for done, genome in enumerate(genomes, start=1):
            if phase == "evolve" and self.ladder.memo.best(1):
                self.log.clock.require(self.seconds_of["image"] * probes + self._selection_seconds())
            memo.add(genome, next(objectives))
            self.log.evaluations.add(phase, evaluator.distance.work(genome))
            self.seconds_of["image"] = (monotonic() - began) / done / probes
            self.log.save()
            yield done

    def _selection_seconds(self) -> float:
        """What the held-out choice will take, with a margin for a busy machine."""
        images = self._last_judged * self.options.probes
        return _MARGIN * (images * self.seconds_of["image"] + self.seconds_of["teacher"])

    def _on_held_out(self, genomes: Sequence[Genome], ground: Ground) -> Memo:
        """Objectives of these genomes on the held-out probes."""
        probes = slice(0, self.options.probes)
        memo = self.log.memo(self.problem.memo_key(ground.calibration, probes, held_out=True))
        missing = [genome for genome in genomes if genome not in memo]
        if missing:
            distance = self._distance("held-out", ground.rollouts, held_out=True)
            with self.log.phase("select") as advance:
                for done in self._judged(missing, self.evaluators.evaluator(distance), memo, "select"):
                    advance(done / len(missing))
        found = Memo()
        for genome in genomes:
            found.add(genome, memo[genome])
        return found
