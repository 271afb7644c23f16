"""Each section shows what its files hold, or says why it cannot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffes.pages.sections import Section
from diffes.pages.tables import Table
from loadtest.faults import Happened
from loadtest.references import Comparison
from loadtest.report import sections
from loadtest.report.sections import Shown
from loadtest.result import ContenderResult, Result, RunResult
from loadtest.saturation import Sustained
from loadtest.trial import Trial
from loadtest.watch import Sample
from tests.loadtest import results
from tests.loadtest.report.folders import BEGAN, SAMPLES, SEARCH, Ran, contender, one, searched, whole
from tests.loadtest.results import likeness

MEBI = 1 << 20


def shown(root: Path, ran: Ran | None = None) -> Shown:
    """The only run of a service."""
    made = contender(root, "service", ran or Ran())
    trial = Trial.load(root / made.runs[0].folder)
    assert trial is not None
    return Shown(made, made.runs[0], trial)


def table(section: Section, caption: str) -> dict[str, list[str]]:
    """Of a section's table, the texts of each row by its first."""
    found: dict[str, list[str]] = {}
    for each in (*section.tables, *section.folded):
        if each.caption == caption:
            assert all(len(row) == len(each.headings) for row in each.rows)
            found |= {row[0].text: [cell.text for cell in row[1:]] for row in each.rows}
    return found


def exact(of: Table, row: str, heading: str) -> float | None:
    """A number of a table."""
    (found,) = (each for each in of.rows if each[0].text == row)
    return found[list(of.headings).index(heading)].exact


def test_every_check_is_told_and_a_broken_one_stands_out(tmp_path: Path) -> None:
    result = Result.load(one(tmp_path))
    told = table(sections.checks(result.checks), "What had to hold")
    assert list(told) == [check.name for check in result.checks]
    assert told["answered within 2 s of when due"] == ["90.00% or more", "77.77% of 9", "NO"]
    assert told["unknown fates"] == ["0 at most", "0", "yes"]


def test_the_course_tells_of_all_requests(tmp_path: Path) -> None:
    section = sections.course(shown(tmp_path), 1.0)
    assert [figure.file for figure in section.figures] == ["latencies.png", "fates.png"]
    fates = table(section, "What became of them")
    assert fates["10"][:6] == ["7", "1", "1", "1", "0", "77.8\u00a0%"]
    assert table(section, "Why there was no answer") == {"a reason": ["2", ""]}
    times = table(section, "Milliseconds, exact quantiles")
    assert times["answer, since due"] == ["625", "625", "625", "625"]
    assert times["sent later than due"] == ["62.5", "62.5", "62.5", "62.5"]
    assert section.title == "Requests: run service/01, 1/s"


def test_reasons_are_told_by_kind_with_one_of_each(tmp_path: Path) -> None:
    its = shown(tmp_path)
    reasons = {"504 late: 1.5 s": 2, "429 full": 3, "504 late: 1.6 s": 1, "504 late: 1.7 s": 1}
    found = its.run.findings.model_copy(update={"reasons": reasons})
    section = sections.course(replace(its, run=its.run.model_copy(update={"findings": found})), 1.0)
    assert [[cell.text for cell in row] for row in section.tables[-1].rows] == [
        ["504 late", "4", "1.5 s"],
        ["429 full", "3", ""],
    ]


def test_what_went_wrong_on_purpose_is_told(tmp_path: Path) -> None:
    happened = [Happened("kill-worker", 2, 2, "killed worker 7"), Happened("pause-worker", 4, 6, "stopped worker 8")]
    section = sections.course(shown(tmp_path, Ran(happened=happened)), 1.0)
    assert list(table(section, "What went wrong on purpose")) == ["killed worker 7", "stopped worker 8"]
    quiet = sections.course(shown(tmp_path / "other"), 1.0)
    assert "What went wrong on purpose" not in [each.caption for each in quiet.tables]


def test_what_nobody_was_told_has_no_row(tmp_path: Path) -> None:
    section = sections.course(shown(tmp_path, Ran(fates=("refused", "left"))), 1.0)
    assert list(table(section, "Milliseconds, exact quantiles")) == ["sent later than due"]
    assert table(section, "What became of them")["2"][-1] == "0.00"


def test_the_inside_tells_of_every_stage(tmp_path: Path) -> None:
    section = sections.inside(shown(tmp_path))
    assert [figure.file for figure in section.figures] == ["inside.png", "stages.png"]
    assert table(section, "Stages") == {
        "fast 0": ["4", "125", "2.00", "25.0\u00a0%"],
        "fast 1": ["4", "375", "1.50", "75.0\u00a0%"],
    }


@pytest.mark.parametrize("samples", [(), tuple(Sample(BEGAN + at) for at in range(5))], ids=["no look", "no metrics"])
def test_a_service_without_metrics_tells_why_there_is_nothing(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    its = shown(tmp_path, Ran(samples=samples, steps=None))
    assert "no /metrics" in sections.inside(its).missing
    assert "does not say" in sections.memory(its).missing


def test_metrics_without_a_step_have_no_stages(tmp_path: Path) -> None:
    section = sections.inside(shown(tmp_path, Ran(steps=None)))
    assert [figure.file for figure in section.figures] == ["inside.png"]
    assert section.folded == []


def test_memory_is_told_as_it_was_and_as_it_grows(tmp_path: Path) -> None:
    short = sections.memory(shown(tmp_path / "short"))
    assert short.text == "300 MiB at first, 300 at the end, 300 at most. The run was too short for a slope."
    grows = [replace(SAMPLES[0], at=BEGAN + at, resident=300 * MEBI + at * MEBI) for at in range(0, 600, 10)]
    long = sections.memory(shown(tmp_path / "long", Ran(samples=grows)))
    assert long.text.startswith("300 MiB at first, 890 at the end, 890 at most. Once settled it grew by 3,600.0 MiB an")


def test_both_sides_agree_or_each_difference_is_told(tmp_path: Path) -> None:
    made = contender(tmp_path, "service", Ran())
    apart = made.runs[0].model_copy(update={"disagreements": ["one", "two"]})
    for runs, told in ((made.runs, ["they agree"]), ([apart], ["one", "two"])):
        result = Result.load(whole(tmp_path, made.model_copy(update={"runs": runs})))
        (found,) = sections.agreement(result).tables
        assert [[cell.text for cell in row] for row in found.rows] == [
            ["service/01", "each answer's own times", each] for each in told
        ]


def compared(*wrong: str) -> Comparison:
    """Ten images of two seeds."""
    return Comparison(
        maker="torch", images=10, seeds=2, mean=0.25, most=1, allowed_mean=0.5, allowed_most=2, wrong=list(wrong)
    )


@pytest.mark.parametrize("wrong", [(), ("a.png, label 3: off by 40",)], ids=["right", "wrong"])
def test_images_are_told_of_and_wrong_ones_are_named(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    made = contender(tmp_path, "service", Ran(), images=compared(*wrong))
    section = sections.images(Result.load(whole(tmp_path, made)))
    told = table(section, "Beside references, grey levels of 255")["service"]
    assert told == ["10", "2", "0.250", "1", "0.5 on average, 2 at most", str(len(wrong))]
    assert [row[1].text for each in section.tables[1:] for row in each.rows] == list(wrong)
    assert "torch" in section.text


def test_where_every_request_had_a_seed_of_its_own_no_image_is_compared(tmp_path: Path) -> None:
    assert "mix.seeds" in sections.images(Result.load(one(tmp_path))).missing


def test_a_search_tells_of_all_its_runs(tmp_path: Path) -> None:
    section = sections.rates(Result.load(searched(tmp_path, "service")))
    assert [figure.file for figure in section.figures] == ["rates.png", "goodput.png"]
    rows = table(section, "All runs")
    assert list(rows) == [f"service/{number:02}" for number in (1, 2, 3, 4)]
    assert [row[0] for row in rows.values()] == ["1.00", "2.00", "4.00", "2.00"]
    assert [row[-1] for row in rows.values()] == ["yes", "yes", "no", "yes"]


def test_several_are_laid_side_by_side_at_the_rate_each_could_bear(tmp_path: Path) -> None:
    slow = contender(tmp_path, "slow", Ran(rate=1), sustained=Sustained(rate=1.0, limit=2.0, confirmed=True))
    fast = contender(
        tmp_path,
        "fast",
        Ran(rate=3),
        sustained=Sustained(rate=3.0, limit=4.0, confirmed=True),
        likeness=likeness(0.125),
    )
    none = contender(tmp_path, "none", Ran(rate=2), sustained=Sustained(rate=None, limit=1.0, confirmed=False))
    (found,) = sections.comparison(Result.load(whole(tmp_path, slow, fast, none, asked=SEARCH))).tables
    rates = [exact(found, name, "requests/s") for name in ("slow", "fast", "none")]
    assert rates == [1.0, 3.0, None]
    assert [exact(found, name, "times slow") for name in ("slow", "fast", "none")] == [1.0, 3.0, None]
    assert exact(found, "fast", "FD to slow") == 0.125
    assert exact(found, "fast", "of images") == 10
    assert exact(found, "fast", "memory, MiB") == 300


def test_without_a_search_several_are_laid_side_by_side_at_the_rate_they_met(tmp_path: Path) -> None:
    made = [contender(tmp_path, "a", Ran(("answered",))), contender(tmp_path, "b", Ran(("failed",)))]
    section = sections.comparison(Result.load(whole(tmp_path, *made)))
    assert "the rate that was offered" in section.text
    (found,) = section.tables
    assert [exact(found, name, "p99, s") for name in "ab"] == [0.625, None]
    assert [exact(found, name, "times a") for name in "ab"] == [1.0, 1.0]


def run(rate: float, *, held: bool, number: int = 1) -> RunResult:
    """A run at a rate."""
    found = results.findings(offered=rate, fates={} if held else {"answered": 0, "failed": 10})
    return results.run(f"service/{number:02}", found).model_copy(update={"rate": rate})


@pytest.mark.parametrize(
    ("runs", "sustained", "shown"),
    [
        ([(1, True), (2, True), (4, False)], 2.0, 2),
        ([(1, True), (2, False), (4, True)], 1.0, 1),
        ([(4, False), (2, False), (1, False)], None, 1),
        ([(0.1, True), (0.1 + 0.2, True), (1, False)], 0.3, 0.1 + 0.2),
    ],
    ids=["the highest", "not one that held by luck", "the lowest, if none held", "rounded"],
)
def test_the_run_that_is_shown_is_that_at_the_rate_that_was_found(
    runs: list[tuple[float, bool]], sustained: float | None, shown: float
) -> None:
    made = [run(rate, held=held) for rate, held in runs]
    found: Any = {"sustained": Sustained(rate=sustained, limit=None, confirmed=True)}
    of = ContenderResult(name="service", told={}, start_seconds=None, runs=made, **found)
    assert sections.best_run(of).rate == shown
