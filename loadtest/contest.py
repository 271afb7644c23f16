"""One contender's runs: as many as its scenario asks for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.agreement import compared, disagreements
from loadtest.arrivals import Closed
from loadtest.checks import Check, at_most, of_slo, sound
from loadtest.findings import find
from loadtest.plan import Plan
from loadtest.result import RunResult
from loadtest.run import Run
from loadtest.saturation import Sustained, highest_rate
from loadtest.scenario import Scenario
from loadtest.target import Target
from loadtest.trial import Trial, run_trial


@dataclass
class Contest:
    """Runs of a scenario in seconds against one target, their files in `folder` below `root`.

    `id` begins the names of all its requests, `seed` those of its runs. `runs` is what came of it.
    """

    scenario: Scenario
    target: Target
    root: Path
    folder: Path
    id: str
    seed: int
    labels: int
    texts: tuple[str, ...]
    sending: Callable[[Run], None]
    ran: Callable[[RunResult], None]
    runs: list[RunResult] = field(default_factory=list)

    def run(self) -> Sustained | None:
        """All of it; the highest rate that held, if the scenario looks for that."""
        search = self.scenario.search
        if search is None:
            self._run(self.scenario)
            return None
        return highest_rate(search, lambda rate: self._run(self.scenario.paced(rate)).held)

    def _run(self, scenario: Scenario) -> RunResult:
        number = len(self.runs) + 1
        folder = self.folder / f"{number:02}"
        trial = run_trial(self._plan(scenario, number), self.target, folder, self.sending, scenario.faults)
        result = self._judged(scenario, trial, str(folder.relative_to(self.root)))
        self.runs.append(result)
        self.ran(result)
        return result

    def _plan(self, scenario: Scenario, number: int) -> Plan:
        return Plan(
            id=f"{self.id}.{number}",
            seed=self.seed + number,
            arrivals=scenario.arrivals,
            seconds=scenario.duration,
            requests=scenario.requests,
            mix=scenario.mix,
            labels=self.labels,
            texts=self.texts,
            patience=scenario.patience,
        )

    def _judged(self, scenario: Scenario, trial: Trial, folder: str) -> RunResult:
        started = None if self.target.service is None else self.target.service.began
        found, apart = find(trial, scenario.slo, started), disagreements(trial)
        return RunResult(
            folder=folder,
            rate=None if isinstance(scenario.arrivals, Closed) else scenario.arrivals.mean,
            findings=found,
            compared=compared(trial),
            disagreements=apart,
            happened=[f"{each.began:.1f} to {each.ended:.1f} s: {each.told}" for each in trial.happened],
            promised=of_slo(scenario.slo, found),
            sound=[*sound(scenario.slo, found, apart, settled=trial.settled), *_all_happened(scenario, trial)],
        )


def _all_happened(scenario: Scenario, trial: Trial) -> list[Check]:
    """A test of a fault that was not made is none."""
    missing = len(scenario.faults) - len(trial.happened)
    return [at_most("faults that did not happen", 0, missing)] if scenario.faults else []
