"""A search from a checkpoint to its files: `schedule.json` for one budget, `pareto.json` for a range of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.devices import device_named
from diffes.pareto import ParetoFront
from diffes.pruning.calibration import CALIBRATION_FILE
from diffes.schedule import Schedule
from search.base_job import Job
from search.costs import PlanLatency
from search.distribution import Distribution, Serial
from search.front_job import FrontJob
from search.logbook import Logbook
from search.memo import code_version
from search.options import SearchOptions
from search.problem import Problem
from search.progress import Reporter
from search.schedule_job import ScheduleJob
from search.state import FRONT_FILE, SCHEDULE_FILE, SearchState, open_state

_SCRATCH = ".workers"  # hidden from what counts as a search's files

Result = TypeVar("Result")


def run_search(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None = None,
    resume: bool = False,
    distribution: Distribution | None = None,
    console: Console | None = None,
) -> Schedule:
    """Search a schedule and write `schedule.json`, `search.json`, `table.json` into `out`.

    `latency` gives nanoseconds where the budget is on latency. `resume` goes on with what an earlier run left in
    `out` (or begins). With equal options a resumed search ends in the schedule an uninterrupted one finds, and so does
    one with workers: `distribution` says where rollouts run (None: in this process).
    SearchError for a budget out of reach, an `out` that holds something else, or a resume under other options, costs
    or code, or of another model.
    """
    if options.front:
        raise ValueError("a range of shares asks for run_front")
    opened = _open(checkpoint, options, out, latency, distribution, console, resume=resume)
    if (out / SCHEDULE_FILE).exists():
        opened.log.say(f"{out / SCHEDULE_FILE} is there already: the search is finished")
        return Schedule.load(out / SCHEDULE_FILE)
    return opened.run(ScheduleJob)


def run_front(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None = None,
    resume: bool = False,
    distribution: Distribution | None = None,
    console: Console | None = None,
) -> ParetoFront:
    """Search a Pareto front over a range of shares and write `pareto.json`, `search.json`, `table.json`.

    Everything else is as with `run_search`.
    """
    if not options.front:
        raise ValueError("one share asks for run_search")
    opened = _open(checkpoint, options, out, latency, distribution, console, resume=resume)
    if (out / FRONT_FILE).exists():
        opened.log.say(f"{out / FRONT_FILE} is there already: the search is finished")
        return ParetoFront.load(out / FRONT_FILE)
    return opened.run(FrontJob)


@dataclass(frozen=True)
class _Opened:
    """A search that may begin or go on: its problem, its logbook, and where its rollouts will run."""

    problem: Problem
    latency: PlanLatency | None
    log: Logbook
    distribution: Distribution

    def run(self, job: type[Job[Result]]) -> Result:
        if intention := self.distribution.intention(self.problem.options):
            self.log.say(intention)
        out = self.log.out
        opened = self.distribution.open(self.problem, self.latency, out / CALIBRATION_FILE, out / _SCRATCH)
        with opened as evaluators:
            return job(self.problem, self.log, evaluators).run()


def _open(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    latency: PlanLatency | None,
    distribution: Distribution | None,
    console: Console | None,
    *,
    resume: bool,
) -> _Opened:
    distribution = distribution or Serial()
    options = distribution.fitted(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device_named(options.device)
    problem = Problem.of(checkpoint, options, latency)
    problem.affordable(np.zeros(problem.budget.savings.shape))  # now, not once the error table is measured
    new = SearchState(options=options, model=checkpoint.identity, code=code_version(), budget=problem.budget_digest)
    state = open_state(out, new, resume=resume)
    log = Logbook(state, out, Reporter(console or Console(stderr=True)), problem.dense_macs)
    return _Opened(problem, latency, log, distribution)
