"""All checks of a load test, and the line they come to."""

from collections.abc import Iterator, Sequence

from loadtest.checks import Check, at_most
from loadtest.result import ContenderResult, RunResult


def verdict(results: Sequence[ContenderResult]) -> list[Check]:
    """Of every contender, by its name where there are several."""
    return [
        check if len(results) == 1 else check.model_copy(update={"name": f"{result.name}: {check.name}"})
        for result in results
        for check in _of(result)
    ]


def sentence(checks: Sequence[Check]) -> str:
    """What holds in a line, or what does not."""
    if broken := [check for check in checks if not check.holds]:
        return "FAIL: " + "; ".join(f"{check.name}: {check.found} (asked: {check.asked})" for check in broken) + "."
    first = checks[0]
    return f"PASS: {first.name}: {first.found} (asked: {first.asked}); {len(checks)} checks hold."


def _of(result: ContenderResult) -> Iterator[Check]:
    """A search is asked for a rate that holds, any other test for its SLO; every run has to be sound."""
    if result.sustained is None:
        yield from result.runs[0].promised
    else:
        rate = result.sustained.rate
        found = "none" if rate is None else f"{rate:.3g}/s" + ("" if result.sustained.confirmed else ", once")
        asked = "one that holds twice"
        yield Check(name="highest rate", asked=asked, found=found, holds=result.sustained.confirmed)
    yield from _worst(result.runs)
    if result.images is not None:
        yield at_most("wrong images", 0, len(result.images.wrong))


def _worst(runs: Sequence[RunResult]) -> Iterator[Check]:
    """Each check that all runs have, as it was in the first run that broke it."""
    for place, check in enumerate(runs[0].sound):
        yield next((run.sound[place] for run in runs if not run.sound[place].holds), check)
