"""Load tests without a load: contenders that are nobody, and runs that are made up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtest.arrivals import Constant
from loadtest.contenders import Contender, Opener
from loadtest.faults import Fault, Happened
from loadtest.job import LoadTest
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.result import RunResult
from loadtest.run import ROWS, Run
from loadtest.scenario import Scenario, Search, Slo
from loadtest.target import Target
from loadtest.trial import Trial
from tests.loadtest import trials


@dataclass
class Heard:
    """What a test tells of itself."""

    phases: list[str] = field(default_factory=list)
    runs: list[RunResult] = field(default_factory=list)

    def phase(self, words: str) -> None:
        self.phases.append(words)

    def sending(self, run: Run) -> None:
        pass

    def ran(self, result: RunResult) -> None:
        self.runs.append(result)


@dataclass
class MadeUp:
    """Stands where a plan is run: every request is answered, in time if the plan `holds`."""

    holds: Callable[[Plan], bool] = lambda _: True
    happened: Sequence[Happened] = ()
    plans: list[Plan] = field(default_factory=list)
    faults: list[Sequence[Fault]] = field(default_factory=list)

    def __call__(self, plan: Plan, _: Target, folder: Path, __: object, faults: Sequence[Fault] = ()) -> Trial:
        self.plans.append(plan)
        self.faults.append(faults)
        late = 0.0 if self.holds(plan) else 1000.0
        rows = [
            replace(trials.row(call.number), due=call.at, sent=call.at, ended=call.at + 0.625 + late)
            for call in plan.calls()
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ROWS).write_text("".join(row.to_json() + "\n" for row in rows))
        return trials.trial(rows, plan=plan, endings=None, before=None, after=None, happened=list(self.happened))


@dataclass
class Opened:
    """Who was opened, for whom, and whether it was waited for."""

    names: list[str] = field(default_factory=list)
    waited: list[bool] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def contender(self, name: str, schedule: str | None = None, target: Target | None = None) -> Contender:
        return Contender(name, self._opener(name, target or Target("http://127.0.0.1:1")), schedule)

    def _opener(self, name: str, target: Target) -> Opener:
        @contextmanager
        def opened(_: Path, wait: bool) -> Iterator[Target]:
            self.names.append(name)
            self.waited.append(wait)
            try:
                yield target
            finally:
                self.closed.append(name)

        return opened


def scenario(**other: Any) -> Scenario:
    """Ten requests in ten seconds, each answered within two."""
    whole = {"about": "Ten.", "seconds": 10, "arrivals": Constant(rate=1), "mix": Mix(), "slo": Slo(within=2)}
    return Scenario.model_validate(whole | other)


def searching(**other: Any) -> Scenario:
    """Looks for a rate, from one of ten upwards by twos."""
    return scenario(search=Search(first=1, factor=2, until=1.5), **other)


def job(out: Path, asked: Scenario, *contenders: Contender, heard: Heard | None = None, **other: Any) -> LoadTest:
    """A test of these."""
    return LoadTest("mine", asked, contenders, out, other.pop("seed", 7), heard or Heard(), **other)
