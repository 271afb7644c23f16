"""One run and everything that was seen of it, as files: what came of it is worked out from these alone."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from diffes.errors import LoadTestError
from diffes.files import write_text_atomically
from loadtest.endings import Ending, read_endings
from loadtest.faults import Fault, Faults, Happened, load_happened
from loadtest.plan import Plan
from loadtest.rows import Row, load_rows
from loadtest.run import BEGAN, PLAN, ROWS, Run, sending
from loadtest.scrape import Scrape
from loadtest.target import Target
from loadtest.watch import Sample, load_samples, watching

_SAMPLES, _BEFORE, _AFTER, _ENDINGS = "samples.jsonl", "before.prom", "after.prom", "endings.jsonl"
_FAULTS = "faults.jsonl"
_WHOLE = "whole.json"  # the last to be written
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 30.0  # for callers that left and are still inside, and for a worker that comes back

Progress = Callable[[Run], None]


@dataclass(frozen=True)
class Trial:
    """`began` is seconds since 1970, time 0 of the rows. What the service does not tell is None.

    `settled`: nobody was inside any more at the end.
    """

    plan: Plan
    rows: list[Row]
    began: float
    samples: list[Sample]
    before: Scrape | None
    after: Scrape | None
    endings: list[Ending] | None
    settled: bool | None
    happened: list[Happened]

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """A trial that was brought to its end; None if there is none."""
        try:
            whole = json.loads((folder / _WHOLE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        endings = folder / _ENDINGS
        plan = Plan.load(folder / PLAN)
        return cls(
            plan=plan,
            rows=load_rows(folder / ROWS),
            began=json.loads((folder / BEGAN).read_text(encoding="utf-8"))["began"],
            samples=load_samples(folder / _SAMPLES),
            before=_read_scrape(folder / _BEFORE),
            after=_read_scrape(folder / _AFTER),
            endings=read_endings(endings, plan.id) if endings.exists() else None,
            settled=whole["settled"],
            happened=load_happened(folder / _FAULTS),
        )

    @property
    def planned(self) -> int:
        """How many requests were due; of a closed loop, how many were sent."""
        if self.plan.arrivals.kind == "closed":
            return len(self.rows)
        return sum(1 for _ in self.plan.calls())

    @property
    def added(self) -> Scrape | None:
        """What the run added to the service's counters."""
        return self.after.since(self.before) if self.after and self.before else None


def run_trial(
    plan: Plan, target: Target, folder: Path, progress: Progress = lambda _: None, faults: Sequence[Fault] = ()
) -> Trial:
    """Run a plan against a target, keep what is seen in `folder`, and read it back.

    A trial of the same plan that is there already is not run again. LoadTestError if locust could not send it, for a
    log that is not there, or for a fault that cannot be made.
    """
    if (known := Trial.load(folder)) is not None and known.plan == plan:
        return known
    going = Faults(faults, target)
    going.require_possible()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (_WHOLE, _BEFORE, _AFTER, _ENDINGS, _FAULTS):
        (folder / stale).unlink(missing_ok=True)
    _keep_metrics(target, folder / _BEFORE)
    logged = _size(target.log) if target.log else 0
    with watching(target, plan.seconds, folder / _SAMPLES), sending(plan, target.url, folder, target.key) as run:
        _follow(run, going, progress)
    going.save(folder / _FAULTS)
    settled = _settled(target, told=(folder / _BEFORE).exists())
    _keep_metrics(target, folder / _AFTER)
    if target.log:
        _keep_log(target.log, logged, folder / _ENDINGS)
    write_text_atomically(folder / _WHOLE, json.dumps({"settled": settled}))
    found = Trial.load(folder)
    assert found is not None
    return found


def _follow(run: Run, faults: Faults, progress: Progress) -> None:
    """Until locust has ended; what goes wrong on purpose does so meanwhile, and is over at the end."""
    began = time.monotonic()
    try:
        while not run.over:
            if run.began is not None:
                faults.at(time.time() - run.began)
            progress(run)
            time.sleep(_POLL_SECONDS)
    finally:
        faults.end(time.time() - run.began if run.began is not None else time.monotonic() - began)
    run.require_whole()
    progress(run)


def _settled(target: Target, told: bool) -> bool | None:
    """Whether the service gets idle within some seconds; None if it does not say, nor has `told` before."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (idle := target.is_idle()) is not True and (told or idle is False) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return False if idle is None and told else idle


def _keep_metrics(target: Target, path: Path) -> None:
    if (text := target.metrics()) is not None:
        write_text_atomically(path, text)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError as error:
        raise LoadTestError("the service's log cannot be read", expected="a file", found=str(error)) from error


def _keep_log(log: Path, start: int, path: Path) -> None:
    """What was logged since."""
    with log.open("rb") as file:
        file.seek(start)
        write_text_atomically(path, file.read().decode(errors="replace"))


def _read_scrape(path: Path) -> Scrape | None:
    with suppress(FileNotFoundError):
        return Scrape.parse(path.read_text(encoding="utf-8"))
    return None
