"""Results as they might have been: a service that answered ten of ten in time, and what was made of it."""

from typing import Any

from loadtest.arrivals import Poisson
from loadtest.checks import of_slo, sound
from loadtest.findings import Findings, Memory, StageShare, Times
from loadtest.likeness import Likeness
from loadtest.mix import Mix
from loadtest.references import Comparison
from loadtest.result import ContenderResult, Result, RunResult
from loadtest.saturation import Sustained
from loadtest.scenario import Scenario, Slo
from loadtest.verdict import sentence, verdict

SLO = Slo(within=2, share=0.9, failed=0.05, refused=0.25)
TIMES = Times(p50=0.25, p95=0.5, p99=0.75, most=1)
NONE = {"answered": 0, "refused": 0, "failed": 0, "left": 0, "unknown": 0}
COMPARISON = Comparison(
    maker="torch", images=10, seeds=2, mean=0.25, most=1, allowed_mean=0.5, allowed_most=2, wrong=[]
)


def findings(**other: Any) -> Findings:
    """Of ten requests in ten seconds; `fates` say which are not answered in time."""
    fates = NONE | {"answered": 10} | other.pop("fates", {})
    whole: dict[str, Any] = {
        "seconds": 10,
        "requests": 10,
        "fates": fates,
        "reasons": {},
        "offered": 1,
        "answered": fates["answered"] / 10,
        "images": fates["answered"] / 10,
        "goodput": fates["answered"] / 10,
        "in_time": fates["answered"] / (10 - fates["left"]),
        "latency": TIMES,
        "first": None,
        "queue": TIMES,
        "outside": TIMES,
        "late": Times(p50=0, p95=0, p99=0, most=0),
        "first_answer": None,
        "stages": [StageShare(schedule="fast", stage=0, seconds=1, calls=4, images=8)],
        "batch": 2,
        "memory": Memory(first=1, last=2, most=3, hourly=None),
    }
    return Findings.model_validate(whole | other)


def run(folder: str = "service/01", found: Findings | None = None, disagreements: tuple[str, ...] = ()) -> RunResult:
    """One run, judged."""
    found = found or findings()
    return RunResult(
        folder=folder,
        rate=1.0,
        findings=found,
        compared="each answer's own times",
        disagreements=list(disagreements),
        promised=of_slo(SLO, found),
        sound=sound(SLO, found, disagreements, settled=True),
    )


def contender(name: str = "service", *runs: RunResult, **other: Any) -> ContenderResult:
    """One that was loaded; without `runs` once, and well."""
    return ContenderResult(
        name=name, told={"backend": "onnxruntime"}, start_seconds=8.5, runs=list(runs or [run()]), **other
    )


def result(*contenders: ContenderResult, **other: Any) -> Result:
    """All of a test; of steps that are counted and left to the service."""
    mix = Mix(steps={"default": 1, 10: 2}, images={1: 3, 4: 1}, schedules={"default": 1, "fast": 2})
    scenario = Scenario(about="Ten.", unit="alone", seconds=10, arrivals=Poisson(rate=0.5), mix=mix, slo=SLO)
    checks = verdict(contenders or [contender()])
    whole: dict[str, Any] = {
        "scenario": "ten",
        "asked": scenario,
        "seed": 0,
        "unit": 0.5,
        "began": "2026-01-01T00:00:00+00:00",
        "machine": {"cores": "2"},
        "contenders": list(contenders or [contender()]),
        "checks": checks,
        "verdict": sentence(checks),
        "passed": all(check.holds for check in checks),
    }
    return Result(**(whole | other))


def sustained(rate: float | None, *, confirmed: bool) -> Sustained:
    """What a search came to."""
    return Sustained(rate=rate, limit=9.0, confirmed=confirmed)


def likeness(frechet: float | None) -> Likeness:
    """To the first contender."""
    return Likeness(of="service", images=10, frechet=frechet, missing="" if frechet is not None else "too few")
