"""Folders as load tests leave them, of requests that were never sent."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loadtest.arrivals import Constant, Poisson
from loadtest.checks import of_slo, sound
from loadtest.faults import Faults, Happened
from loadtest.findings import find
from loadtest.plan import Plan
from loadtest.result import ContenderResult, Result, RunResult
from loadtest.rows import Fate, Row
from loadtest.saturation import Sustained
from loadtest.scenario import Scenario, Search, Slo
from loadtest.target import Target
from loadtest.trial import Trial
from loadtest.verdict import sentence, verdict
from loadtest.watch import Sample
from tests.loadtest import trials

BEGAN = 1000.0
SECONDS = 10
SLO = Slo(within=2, share=0.9)
SCENARIO = Scenario(about="One a second.", seconds=SECONDS, arrivals=Constant(rate=1), slo=SLO)
FATES: tuple[Fate, ...] = ("answered",) * 6 + ("refused", "failed", "left", "answered")
SAMPLES = [Sample(BEGAN + at, waiting=at % 3, running=4.0, backlog=0.5, resident=300 << 20) for at in range(SECONDS)]
STEPS = """\
diffes_requests_total{status="done"} 7.0
diffes_step_seconds_sum{schedule="fast",stage="0"} 0.5
diffes_step_seconds_count{schedule="fast",stage="0"} 4.0
diffes_step_images_sum{schedule="fast",stage="0"} 8.0
diffes_step_seconds_sum{schedule="fast",stage="1"} 1.5
diffes_step_seconds_count{schedule="fast",stage="1"} 4.0
diffes_step_images_sum{schedule="fast",stage="1"} 6.0
"""
NO_STEPS = 'diffes_requests_total{status="done"} 0.0\n'


@dataclass(frozen=True)
class Ran:
    """One run: a request a second, or so many, that ended so."""

    fates: Sequence[Fate] = FATES
    rate: float = 1.0
    samples: Sequence[Sample] = tuple(SAMPLES)
    happened: Sequence[Happened] = ()
    steps: str | None = STEPS
    late: float = 0.0

    def rows(self) -> list[Row]:
        made = [trials.row(number, fate) for number, fate in enumerate(self.fates)]
        return [replace(row, ended=row.ended + self.late, stages=()) for row in made]

    def plan(self) -> Plan:
        """Of as many requests; a Poisson process that is slow enough has none."""
        if not self.fates:
            return trials.PLAN.model_copy(update={"arrivals": Poisson(rate=1e-6)})
        seconds = len(self.fates) / self.rate
        return trials.PLAN.model_copy(update={"arrivals": Constant(rate=self.rate), "seconds": seconds})

    def write(self, folder: Path) -> None:
        """The files of the run."""
        folder.mkdir(parents=True)
        self.plan().save(folder / "plan.json")
        (folder / "rows.jsonl").write_text("".join(row.to_json() + "\n" for row in self.rows()))
        (folder / "began.json").write_text(json.dumps({"began": BEGAN}))
        (folder / "samples.jsonl").write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.samples))
        if self.steps is not None:
            (folder / "before.prom").write_text(NO_STEPS)
            (folder / "after.prom").write_text(self.steps)
        Faults([], Target(""), list(self.happened)).save(folder / "faults.jsonl")
        (folder / "whole.json").write_text(json.dumps({"settled": True}))


def contender(root: Path, name: str, *runs: Ran, **other: Any) -> ContenderResult:
    """Its runs, written below `root` and judged."""
    results = []
    for number, ran in enumerate(runs, 1):
        folder = f"{name}/{number:02}"
        ran.write(root / folder)
        trial = Trial.load(root / folder)
        assert trial is not None
        found = find(trial, SLO)
        results.append(
            RunResult(
                folder=folder,
                rate=ran.rate,
                findings=found,
                compared="each answer's own times",
                disagreements=[],
                happened=[each.told for each in ran.happened],
                promised=of_slo(SLO, found),
                sound=sound(SLO, found, [], settled=True),
            )
        )
    return ContenderResult(name=name, told={"bundle": "b1"}, start_seconds=8.5, runs=results, **other)


def whole(root: Path, *contenders: ContenderResult, **other: Any) -> Path:
    """The folder of a test of these, and what it came to."""
    checks = verdict(contenders)
    every: dict[str, Any] = {
        "scenario": "mine",
        "asked": SCENARIO,
        "seed": 7,
        "unit": None,
        "began": "2026-01-01T00:00:00+00:00",
        "machine": {"cores": "2"},
        "contenders": list(contenders),
        "checks": checks,
        "verdict": sentence(checks),
        "passed": all(check.holds for check in checks),
    }
    Result(**(every | other)).save(root)
    return root


def one(root: Path, ran: Ran | None = None) -> Path:
    """The folder of a test of one run of one service."""
    return whole(root, contender(root, "service", ran or Ran()))


SEARCH = SCENARIO.model_copy(update={"search": Search(first=1)})


def searched(root: Path, *names: str) -> Path:
    """The folder of a search of these: what held at 2 a second did not at 4."""
    fates: Sequence[Fate] = ("answered",) * 9 + ("left",)
    runs = [Ran(fates, rate=rate, late=late) for rate, late in ((1, 0), (2, 0), (4, 9), (2, 0))]
    found = Sustained(rate=2.0, limit=4.0, confirmed=True)
    return whole(root, *(contender(root, name, *runs, sustained=found) for name in names), asked=SEARCH)
