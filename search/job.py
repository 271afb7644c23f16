"""A search from a checkpoint to its files: `schedule.json` for one budget, `pareto.json` for a range of them."""

from pathlib import Path

import torch
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.pareto import ParetoFront
from diffes.schedule import Schedule
from search.costs import PlanLatency
from search.front_job import FrontJob
from search.logbook import Logbook
from search.memo import code_version
from search.options import SearchOptions
from search.problem import Problem, require_device
from search.progress import Reporter
from search.schedule_job import ScheduleJob
from search.state import FRONT_FILE, SCHEDULE_FILE, SearchState, open_state


def run_search(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Schedule:
    """Search a schedule and write `schedule.json`, `search.json`, `search.png`, `table.json` into `out`.

    `latency` gives nanoseconds where the budget is on latency. `resume` goes on with what an earlier run left in
    `out` (or begins). With equal options a resumed search ends in the schedule an uninterrupted one finds.
    SearchError for a budget out of reach, an `out` that holds something else, or a resume under other options, costs
    or code, or of another model.
    """
    if options.front:
        raise ValueError("a range of shares asks for run_front")
    problem, log = _open(checkpoint, options, out, latency=latency, resume=resume, console=console)
    if (out / SCHEDULE_FILE).exists():
        log.say(f"{out / SCHEDULE_FILE} is there already: the search is finished")
        return Schedule.load(out / SCHEDULE_FILE)
    return ScheduleJob(problem, log).run()


def run_front(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> ParetoFront:
    """Search a Pareto front over a range of shares and write `pareto.json`, `pareto.png`, `search.json`, `table.json`.

    Everything else is as with `run_search`.
    """
    if not options.front:
        raise ValueError("one share asks for run_search")
    problem, log = _open(checkpoint, options, out, latency=latency, resume=resume, console=console)
    if (out / FRONT_FILE).exists():
        log.say(f"{out / FRONT_FILE} is there already: the search is finished")
        return ParetoFront.load(out / FRONT_FILE)
    return FrontJob(problem, log).run()


def _open(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    latency: PlanLatency | None,
    resume: bool,
    console: Console | None,
) -> tuple[Problem, Logbook]:
    """The problem, and the logbook of its search so far."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    require_device(options.device)
    problem = Problem.of(checkpoint, options, latency)
    new = SearchState(options=options, model=checkpoint.identity, code=code_version(), budget=problem.budget_digest)
    state = open_state(out, new, resume=resume)
    return problem, Logbook(state, out, Reporter(console or Console(stderr=True)), problem.dense_macs)
