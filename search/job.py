"""A search from a checkpoint to `schedule.json`: calibrate, teacher, table, evolve, select. Resumes after a kill."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.pruning.cache import calibration_for
from diffes.pruning.calibration import CALIBRATION_FILE, Calibration
from diffes.schedule import Schedule
from search.clock import Clock, OutOfTime
from search.error_table import Errors, errors_of, measure, predicted_error
from search.evolution import Evolution, Moment
from search.fitness import Distance
from search.genome import Genome
from search.memo import Memo
from search.options import SearchOptions
from search.population import References, first_population
from search.problem import Problem, require_device
from search.progress import Advance, Reporter
from search.report import Findings, write_report, write_table
from search.rollouts import Rollouts
from search.selection import choose, finalists
from search.state import SCHEDULE_FILE, Generation, SearchState, open_state

_MARGIN = 1.5
_TABLE_SHARE = 0.6  # of the time limit has passed: what is left is for whole rollouts


def run_search(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> Schedule:
    """Search a schedule and write `schedule.json`, `search.json`, `search.png`, `table.json` into `out`.

    `resume` goes on with what an earlier run left in `out` (or begins). With equal options a resumed search ends in
    the schedule an uninterrupted one finds. SearchError for a budget out of reach, an `out` that holds something
    else, or a resume under other options or of another model.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    require_device(options.device)
    problem = Problem.of(checkpoint, options)
    state = open_state(out, options, checkpoint.identity, resume=resume)
    reporter = Reporter(console or Console(stderr=True))
    if (out / SCHEDULE_FILE).exists():
        reporter.say(f"{out / SCHEDULE_FILE} is there already: the search is finished")
        return Schedule.load(out / SCHEDULE_FILE)
    return _Job(problem, state, out, reporter).run()


class _Job:
    """One run of a search: the problem, what is known of it, and where that is written."""

    def __init__(self, problem: Problem, state: SearchState, out: Path, reporter: Reporter) -> None:
        self.problem = problem
        self.options = problem.options
        self.state = state
        self.out = out
        self.reporter = reporter
        self.clock = Clock(problem.options.time_limit, state.seconds)
        self.memo = Memo(state.memo)
        self.held_out = Memo(state.held_out)
        self.evolution_began = 0.0
        self.seconds_of = {"teacher": 0.0, "evaluation": 0.0}  # the last of each, to foresee the next

    def run(self) -> Schedule:
        self.reporter.say(self._intention())
        self._save()
        calibration = self._calibrate()
        rollouts = self.problem.rollouts(calibration)
        distance = self._distance("teacher", rollouts)
        errors = self._tabulate(replace(distance, teacher=distance.teacher.rows(self.options.table_probes)))
        budget = self.problem.budget
        random = np.random.RandomState(self.options.seed)
        references = References.of(errors, budget, random)
        population = first_population(references, errors, budget, self.options.population, random)
        self._evolve(population, errors, distance)
        chosen = self._select(references, rollouts)
        predicted = predicted_error(errors, references.knapsack)
        findings = Findings(
            self.problem, self.state, self.memo, self.held_out, references, predicted, chosen, calibration
        )
        schedule = write_report(findings, self.out)
        self.reporter.say(findings.summary())
        return schedule

    def _intention(self) -> str:
        budget, options = self.problem.budget, self.options
        limit = f", at most {options.time_limit:.0f} s" if options.time_limit else ""
        entries = sum(map(len, self.problem.passes))
        return (
            f"search: remove {options.macs:.1%} of {budget.dense / 1e9:.3g} GMACs a row"
            f" (at most {budget.reachable / budget.dense:.1%} can go); {entries} table entries on"
            f" {options.table_probes} images, up to {self._planned()} schedules on {options.probes}{limit}"
        )

    def _planned(self) -> int:
        options = self.options
        return options.population + options.generations * (options.population - options.survivors)

    @contextmanager
    def _phase(self, name: str) -> Iterator[Advance]:
        with self.clock.phase(name), self.reporter.phase(name) as advance:
            yield advance

    def _save(self) -> None:
        self.state.memo = self.memo.entries()
        self.state.held_out = self.held_out.entries()
        self.state.save(self.out)

    def _calibrate(self) -> Calibration:
        checkpoint, path = self.problem.checkpoint, self.out / CALIBRATION_FILE
        spec = self.options.calibration_spec(checkpoint)
        with self._phase("calibrate") as advance:
            if path.exists():
                return Calibration.load(path, checkpoint, spec)
            made = calibration_for(checkpoint, spec, device=self.options.device, progress=advance)
            made.save(path)
            return made

    def _distance(self, phase: str, rollouts: Rollouts, *, held_out: bool = False) -> Distance:
        start = monotonic()
        with self._phase(phase):
            distance = self.problem.distance(rollouts, held_out=held_out)
        self.seconds_of["teacher"] = monotonic() - start
        return distance

    def _tabulate(self, distance: Distance) -> Errors:
        levels, method, table = self.problem.table_levels, self.options.table, self.state.table
        passes = self.problem.passes
        total = sum(map(len, passes))
        with self._phase("table") as advance:
            for entry in (entry for entries in passes for entry in entries):
                if entry.name in table:
                    continue
                if len(table) >= len(passes[0]) and self.clock.share(0, 0) > _TABLE_SHARE:
                    self.reporter.say(f"the time limit stopped the table after {len(table)} of {total} entries")
                    break
                table[entry.name] = measure(entry, distance, levels, method)
                self._save()
                advance(len(table) / total)
        errors = errors_of(table, self.problem.space, self.problem.budget, levels)
        write_table(self.problem, table, errors, self.out)
        return errors

    def _evolve(self, population: list[Genome], errors: Errors, distance: Distance) -> None:
        options, generations = self.options, self.state.generations
        self.evolution_began = self.clock.elapsed
        with self._phase("evolve") as advance:
            evolution = Evolution(
                budget=self.problem.budget,
                errors=errors,
                memo=self.memo,
                evaluate=lambda genome: self._evaluate(genome, distance, advance),
                elite=options.survivors,
                generations=options.generations,
                seed=options.seed,
            )
            try:
                if not generations:
                    for genome in population:
                        evolution.evaluate(genome)
                    self._record(Moment(0, population, len(self.memo)))
                evolution.run(self._moment(), self._record)
                self.state.stopped = "generations"
            except OutOfTime:
                self.state.stopped = "time limit"
        if self.state.stopped == "time limit":
            done = len(generations) - 1
            self.reporter.say(
                f"the time limit stopped the evolution after {max(done, 0)} of {options.generations} generations"
                f" and {len(self.memo)} schedules; another run may find another schedule"
            )
        self._save()

    def _evaluate(self, genome: Genome, distance: Distance, advance: Advance) -> float:
        if genome in self.memo:
            return self.memo[genome]
        if self.memo.best(1):
            self.clock.require(self.seconds_of["evaluation"] + self._selection_seconds())
        start = monotonic()
        self.memo.add(genome, distance(genome))
        self.seconds_of["evaluation"] = monotonic() - start
        self._save()
        advance(
            max(len(self.memo) / self._planned(), self.clock.share(self.evolution_began, self._selection_seconds()))
        )
        return self.memo[genome]

    def _selection_seconds(self) -> float:
        """What the held-out choice will take, with a margin for a busy machine."""
        evaluations = (self.options.candidates + 1) * self.seconds_of["evaluation"]
        return _MARGIN * (evaluations + self.seconds_of["teacher"])

    def _moment(self) -> Moment:
        last = self.state.generations[-1]
        return Moment(last.number, self.state.population, last.evaluations, self.state.random)

    def _record(self, moment: Moment) -> None:
        objectives = [self.memo[genome] for genome in moment.population]
        finite = [value for value in objectives if isfinite(value)]
        best = min(range(len(objectives)), key=objectives.__getitem__)
        generation = Generation(
            number=moment.number,
            best=objectives[best] if finite else None,
            mean=sum(finite) / len(finite) if finite else None,
            evaluations=moment.evaluated,
            seconds=self.clock.elapsed,
            best_genome=moment.population[best],
        )
        self.state.generations.append(generation)
        self.state.population, self.state.random = moment.population, moment.random
        self._save()

    def _select(self, references: References, rollouts: Rollouts) -> Genome:
        genomes = finalists(self.memo, self.options.candidates, references.uniform)
        missing = [genome for genome in genomes if genome not in self.held_out]
        if missing:
            distance = self._distance("held-out", rollouts, held_out=True)
            with self._phase("select") as advance:
                for number, genome in enumerate(missing, 1):
                    self.held_out.add(genome, distance(genome))
                    self._save()
                    advance(number / len(missing))
        return choose(genomes, self.held_out)
