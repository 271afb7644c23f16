"""A search from a checkpoint to `schedule.json`: calibrate, teacher, table, evolve, select. Resumes after a kill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf, isfinite
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
from search.costs import PlanLatency
from search.error_table import Errors, ErrorTable, errors_of
from search.evaluations import Evaluations
from search.evolution import Evolution, Moment
from search.fitness import Distance, SerialEvaluator
from search.genome import Genome
from search.ladder import Ladder, Rung
from search.memo import Memo, code_version
from search.operators import Operators
from search.options import SearchOptions
from search.population import References, first_population
from search.problem import Problem, require_device
from search.progress import Advance, Reporter
from search.report import Findings, write_report, write_table
from search.rollouts import Rollouts
from search.selection import choose, finalists
from search.state import SCHEDULE_FILE, Generation, SearchState, open_state
from search.surrogate import Surrogate

_MARGIN = 1.5
_TABLE_SHARE = 0.6  # of the time limit has passed: what is left is for whole rollouts
_SAVE_EVERY = 0.5  # seconds: a kill throws away no more than that and the genomes under way


def run_search(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Schedule:
    """Search a schedule and write `schedule.json`, `search.json`, `table.json` into `out`.

    `latency` gives nanoseconds where the budget is on latency. `resume` goes on with what an earlier run left in
    `out` (or begins). With equal options a resumed search ends in the schedule an uninterrupted one finds.
    SearchError for a budget out of reach, an `out` that holds something else, or a resume under other options, costs
    or code, or of another model.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    require_device(options.device)
    problem = Problem.of(checkpoint, options, latency)
    new = SearchState(options=options, model=checkpoint.identity, code=code_version(), budget=problem.budget_digest)
    state = open_state(out, new, resume=resume)
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
        self.memos = {key: Memo(entries) for key, entries in state.memos.items()}
        self.evaluations = Evaluations(state.evaluations, problem.dense_macs)
        self.ladder = Ladder(())
        self.saved = -inf
        self.evolution_began = 0.0
        self.seconds_of = {"teacher": 0.0, "image": 0.0}  # the last of each, to foresee the next

    def run(self) -> Schedule:
        self.reporter.say(self._intention())
        self._save(now=True)
        try:
            return self._search()
        finally:
            self._save(now=True)

    def _search(self) -> Schedule:
        calibration = self._calibrate()
        rollouts = self.problem.rollouts(calibration)
        distance = self._distance("teacher", rollouts)
        errors = self._tabulate(distance.rows(slice(0, self.options.table_probes)))
        space, budget = self.problem.space, self.problem.budget
        random = np.random.RandomState(self.options.seed)
        references = References.of(errors, space, budget, random)
        population = first_population(references, errors, space, budget, self.options.population, random)
        self._evolve(population, Surrogate(errors), distance, calibration)
        held_out = Memo()
        chosen = self._select(references, rollouts, calibration, held_out)
        findings = Findings(
            problem=self.problem,
            state=self.state,
            memo=self.ladder.memo,
            held_out=held_out,
            references=references,
            predicted=Surrogate(errors).predicted(references.knapsack),
            chosen=chosen,
            calibration=calibration,
            evaluations=self.evaluations,
        )
        schedule = write_report(findings, self.out)
        self.reporter.say(findings.summary())
        return schedule

    def _intention(self) -> str:
        budget, options, space = self.problem.budget, self.options, self.problem.space
        limit = f", at most {options.time_limit:.0f} s" if options.time_limit else ""
        entries = sum(map(len, self.problem.passes))
        return (
            f"search: remove {options.share:.1%} of the {budget.unit} of a row's trajectory"
            f" (at most {budget.reachable / budget.dense:.1%} can go) by {len(budget.movable)} genes of"
            f" {space.top + 1} levels; {entries} table entries on {options.table_probes} images,"
            f" up to {self._planned()} schedules on {options.probes}{limit}"
        )

    def _planned(self) -> int:
        options = self.options
        return options.population + options.generations * (options.population - options.survivors)

    @contextmanager
    def _phase(self, name: str) -> Iterator[Advance]:
        with self.clock.phase(name), self.reporter.phase(name) as advance:
            yield advance

    def _save(self, *, now: bool = False) -> None:
        if now or monotonic() - self.saved > _SAVE_EVERY:
            self.state.memos = {key: memo.entries() for key, memo in self.memos.items()}
            self.state.save(self.out)
            self.saved = monotonic()

    def _count_once(self, phase: str, images: int) -> None:
        """Count dense trajectories of so many images, unless an earlier run of this search has."""
        if phase not in self.evaluations.macs:
            rows = images if self.options.guidance == 1 else 2 * images
            self.evaluations.add(phase, rows * len(self.problem.step_stages) * self.problem.dense_macs)

    def _calibrate(self) -> Calibration:
        checkpoint, path = self.problem.checkpoint, self.out / CALIBRATION_FILE
        spec = self.options.calibration_spec(checkpoint)
        with self._phase("calibrate") as advance:
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
        with self._phase(phase):
            distance = self.problem.distance(rollouts, held_out=held_out)
        self.seconds_of["teacher"] = monotonic() - start
        self._count_once(phase, self.options.probes)
        return distance

    def _tabulate(self, distance: Distance) -> Errors:
        levels, table, passes = self.problem.table_levels, self.state.table, self.problem.passes
        measured = ErrorTable(distance, self.options.table)
        total = sum(map(len, passes))
        with self._phase("table") as advance:
            for entry in (entry for entries in passes for entry in entries):
                if entry.name in table:
                    continue
                if len(table) >= len(passes[0]) and self.clock.share(0, 0) > _TABLE_SHARE:
                    self.reporter.say(f"the time limit stopped the table after {len(table)} of {total} entries")
                    break
                table[entry.name] = measured.measure(entry)
                self.evaluations.add("table", measured.work(entry))
                self._save()
                advance(len(table) / total)
        errors = errors_of(table, self.problem.space, self.problem.budget, levels)
        write_table(self.problem, table, errors, self.out)
        return errors

    def _evolve(
        self, population: list[Genome], surrogate: Surrogate, distance: Distance, calibration: Calibration
    ) -> None:
        options, generations = self.options, self.state.generations
        self.evolution_began = self.clock.elapsed
        with self._phase("evolve") as advance:
            self.ladder = Ladder(tuple(self._rung(distance, rows, calibration, advance) for rows in options.rungs))
            operators = Operators(self.problem.space, self.problem.budget)
            evolution = Evolution(
                operators, surrogate, self.ladder, options.survivors, options.generations, options.seed
            )
            try:
                if not generations:
                    self._record(evolution.begin(population))
                evolution.run(self._moment(), self._record)
                self.state.stopped = "generations"
            except OutOfTime:
                self.state.stopped = "time limit"
        if self.state.stopped == "time limit":
            done = len(generations) - 1
            self.reporter.say(
                f"the time limit stopped the evolution after {max(done, 0)} of {options.generations} generations"
                f" and {self.ladder.seen} schedules; another run may find another schedule"
            )
        self._save(now=True)

    def _rung(self, distance: Distance, rows: slice, calibration: Calibration, advance: Advance) -> Rung:
        """Judge genomes on some of the probes, as long as the clock allows after the first schedule."""
        memo = self._memo(self.problem.memo_key(calibration, rows))
        probes = rows.stop - rows.start

        def evaluate(genomes: Sequence[Genome]) -> None:
            for _ in self._judged(genomes, distance.rows(rows), memo, "evolve"):
                passed = self.clock.share(self.evolution_began, self._selection_seconds())
                advance(max(self.ladder.seen / self._planned(), passed))

        return Rung(probes, memo, evaluate)

    def _judged(self, genomes: Sequence[Genome], distance: Distance, memo: Memo, phase: str) -> Iterator[int]:
        """Judge genomes, a batch at a time; yields how many are done. The evolution stops short of the time limit."""
        evaluator, probes = SerialEvaluator(distance), len(distance.teacher.labels)
        for start in range(0, len(genomes), evaluator.batch):
            if phase == "evolve" and self.ladder.memo.best(1):
                self.clock.require(self.seconds_of["image"] * probes + self._selection_seconds())
            batch, began = genomes[start : start + evaluator.batch], monotonic()
            for genome, objective in zip(batch, evaluator(batch), strict=True):
                memo.add(genome, objective)
                self.evaluations.add(phase, distance.work(genome))
            self.seconds_of["image"] = (monotonic() - began) / len(batch) / probes
            self._save()
            yield start + len(batch)

    def _memo(self, key: str) -> Memo:
        return self.memos.setdefault(key, Memo())

    def _selection_seconds(self) -> float:
        """What the held-out choice will take, with a margin for a busy machine."""
        images = (self.options.candidates + 1) * self.options.probes
        return _MARGIN * (images * self.seconds_of["image"] + self.seconds_of["teacher"])

    def _moment(self) -> Moment:
        last, state = self.state.generations[-1], self.state
        objectives = [inf if value is None else value for value in state.objectives]
        return Moment(last.number, state.population, last.schedules, objectives, state.random)

    def _record(self, moment: Moment) -> None:
        objectives, state = moment.objectives, self.state
        finite = [value for value in objectives if isfinite(value)]
        best = min(range(len(objectives)), key=objectives.__getitem__)
        generation = Generation(
            number=moment.number,
            best=objectives[best] if finite else None,
            mean=sum(finite) / len(finite) if finite else None,
            schedules=moment.seen,
            evaluations=self.evaluations.total,
            seconds=self.clock.elapsed,
            best_genome=moment.population[best],
        )
        state.generations.append(generation)
        state.population, state.random = moment.population, moment.random
        state.objectives = [value if isfinite(value) else None for value in objectives]
        self._save(now=True)

    def _select(self, references: References, rollouts: Rollouts, calibration: Calibration, held_out: Memo) -> Genome:
        """The finalists' best on held-out probes; `held_out` gets the objectives of all of them."""
        genomes = finalists(self.ladder.memo, self.options.candidates, references.uniform)
        memo = self._memo(self.problem.memo_key(calibration, slice(0, self.options.probes), held_out=True))
        missing = [genome for genome in genomes if genome not in memo]
        if missing:
            distance = self._distance("held-out", rollouts, held_out=True)
            with self._phase("select") as advance:
                for done in self._judged(missing, distance, memo, "select"):
                    advance(done / len(missing))
        for genome in genomes:
            held_out.add(genome, memo[genome])
        return choose(genomes, held_out)
