"""`report.html` of a load test, from the files in its folder: at any time, on any machine, always the same."""

from pathlib import Path

from diffes.errors import LoadTestError
from diffes.files import write_text_atomically
from diffes.pages.page import Page, render
from diffes.pages.sections import Section
from diffes.pages.tables import plain_table
from loadtest.report import sections
from loadtest.report.sections import Shown
from loadtest.result import ContenderResult, Result
from loadtest.trial import Trial

REPORT_FILE = "report.html"


def make_report(folder: Path) -> Path:
    """Write the page and return its path; LoadTestError for a folder without a finished load test."""
    result = Result.load(folder)
    path = folder / REPORT_FILE
    write_text_atomically(path, render(_page(result, folder)))
    return path


def _page(result: Result, folder: Path) -> Page:
    title = f"Load test: {result.scenario}"
    return Page(
        title=title,
        heading=title,
        facts=_facts(result),
        result=[result.verdict],
        sections=_sections(result, folder),
        provenance=[
            plain_table("Made with", {**result.machine, "seed": result.seed, "begun": result.began}),
            plain_table("Scenario", result.asked.model_dump(mode="json")),
        ],
        state="good" if result.passed else "bad",
    )


def _facts(result: Result) -> list[tuple[str, str]]:
    slo = result.asked.slo
    facts = [("Asked", result.asked.about)]
    facts.append(("Promised", f"{slo.share:.1%} answered within {result.slo:.3g} s of when they were due"))
    if result.unit is not None:
        facts.append(("Unit", f"{result.unit:.3g} s, what one request takes alone"))
    for contender in result.contenders:
        told = ", ".join(f"{name} {value}" for name, value in contender.told.items())
        started = "" if contender.start_seconds is None else f"; ready {contender.start_seconds:.1f} s after its start"
        facts.append((contender.name, (told or "tells nothing of itself") + started))
    return facts


def _sections(result: Result, folder: Path) -> list[Section]:
    parts = [sections.checks(result.checks)]
    if len(result.contenders) > 1:
        parts.append(sections.comparison(result))
    if result.asked.search is not None:
        parts.append(sections.rates(result))
    for contender in result.contenders:
        shown = _shown(contender, folder)
        parts += [sections.course(shown, result.slo), sections.inside(shown), sections.memory(shown)]
    return [*parts, sections.images(result), sections.agreement(result)]


def _shown(contender: ContenderResult, folder: Path) -> Shown:
    """The files of the run that a page shows."""
    run = sections.best_run(contender)
    trial = Trial.load(folder / run.folder)
    if trial is None:
        raise LoadTestError(f"{folder} is not whole", expected=f"the files of {run.folder}", found="some are missing")
    return Shown(contender, run, trial)
