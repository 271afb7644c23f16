"""Figures are drawn of whatever a run left, and equal runs look equal."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from diffes.pages.sections import Figure
from loadtest.faults import Happened
from loadtest.findings import StageShare
from loadtest.report import figures
from loadtest.result import ContenderResult
from loadtest.rows import FATES, Fate, Row
from loadtest.watch import Sample
from tests.loadtest import trials
from tests.loadtest.report.folders import BEGAN, SAMPLES, Ran, contender

PNG = b"\x89PNG\r\n\x1a\n"
HAPPENED = [Happened("kill-worker", 2, 2, "killed"), Happened("pause-worker", 4, 6, "stopped")]
SILENT = [Sample(BEGAN + at) for at in range(3)]
NINE: tuple[Fate, ...] = ("answered",) * 9
SHARES = [StageShare(schedule="fast", stage=stage, seconds=1 + stage, calls=4, images=8) for stage in range(3)]


def rows(*fates: Fate) -> list[Row]:
    return [trials.row(number, fate) for number, fate in enumerate(fates)]


DRAWN: dict[str, Callable[[], bytes]] = {
    "latencies": lambda: figures.latencies_over_time(rows(*FATES), 1.0, HAPPENED),
    "fates": lambda: figures.fates_over_time(rows(*FATES), 10.0, 1.0, HAPPENED),
    "inside": lambda: figures.inside_over_time([*SAMPLES, *SILENT], BEGAN, HAPPENED),
    "stages": lambda: figures.stages(SHARES),
    "memory": lambda: figures.memory_over_time(SAMPLES, BEGAN),
}
OF_NOTHING: dict[str, Callable[[], bytes]] = {
    "latencies": lambda: figures.latencies_over_time([], 1.0, []),
    "fates": lambda: figures.fates_over_time([], 10.0, 1.0, []),
    "inside": lambda: figures.inside_over_time(SILENT, BEGAN, []),
    "inside, no look": lambda: figures.inside_over_time([], BEGAN, []),
    "memory": lambda: figures.memory_over_time(SILENT, BEGAN),
}


def is_sound(png: bytes) -> bool:
    """A PNG that fits on a page."""
    return png.startswith(PNG) and 600 < Figure("x.png", png, "").width < 1200


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_equal_runs_look_equal(draw: Callable[[], bytes]) -> None:
    drawn = draw()
    assert is_sound(drawn)
    assert drawn == draw()


@pytest.mark.parametrize("draw", OF_NOTHING.values(), ids=OF_NOTHING)
def test_nothing_can_be_drawn_too(draw: Callable[[], bytes]) -> None:
    assert is_sound(draw())


def test_what_went_wrong_is_seen_in_every_course() -> None:
    courses: list[Callable[[Sequence[Happened]], bytes]] = [
        lambda happened: figures.latencies_over_time(rows(*FATES), 1.0, happened),
        lambda happened: figures.fates_over_time(rows(*FATES), 10.0, 1.0, happened),
        lambda happened: figures.inside_over_time(SAMPLES, BEGAN, happened),
    ]
    for draw in courses:
        assert len({draw(those) for those in ([], HAPPENED[:1], HAPPENED[1:], HAPPENED)}) == 4


def test_every_fate_has_a_colour_of_its_own() -> None:
    assert set(figures.COLOURS) == set(FATES)
    assert len(set(figures.COLOURS.values())) == len(FATES)
    alone = {figures.fates_over_time(rows(fate), 10.0, 1.0, []) for fate in FATES}
    assert len(alone) == len(FATES)


def test_an_answer_that_came_too_late_is_not_among_those_in_time() -> None:
    assert figures.fates_over_time(rows("answered"), 10.0, 1.0, []) != figures.fates_over_time(
        rows("answered"), 10.0, 0.5, []
    )


def test_a_request_without_any_delay_has_its_place_on_a_logarithmic_axis() -> None:
    at_once = trials.row(0, "failed", sent=0.0, ended=0.0)
    assert is_sound(figures.latencies_over_time([at_once], 1.0, []))


def test_silence_is_seen() -> None:
    samples = [SAMPLES[0], *SILENT[1:], *SAMPLES[3:]]
    assert figures.inside_over_time(samples, BEGAN, []) != figures.inside_over_time(
        [SAMPLES[0], *SAMPLES[3:]], BEGAN, []
    )


def of(root: Path, *runs: tuple[float, float, Sequence[Fate]]) -> ContenderResult:
    """A contender whose runs were at these rates, so many seconds later than they could be."""
    return contender(root, "service", *(Ran(rate=rate, late=late, fates=fates) for rate, late, fates in runs))


def test_rates_show_where_the_promise_was_broken(tmp_path: Path) -> None:
    kept = of(tmp_path / "a", (1, 0, NINE), (2, 0.25, NINE))
    broken = of(tmp_path / "b", (1, 0, NINE), (2, 0.25, (*NINE, "failed")))
    assert [run.held for run in (*kept.runs, *broken.runs)] == [True, True, True, False]
    assert figures.latencies_over_rate([kept], 1.0) != figures.latencies_over_rate([broken], 1.0)
    assert is_sound(figures.goodput_over_rate([kept, broken]))


def test_runs_are_in_the_order_of_their_rates(tmp_path: Path) -> None:
    up = of(tmp_path / "a", (1, 0, ["answered"]), (2, 0, ["answered"]))
    down = of(tmp_path / "b", (2, 0, ["answered"]), (1, 0, ["answered"]))
    assert figures.latencies_over_rate([up], 1.0) == figures.latencies_over_rate([down], 1.0)
    assert figures.goodput_over_rate([up]) == figures.goodput_over_rate([down])


def test_more_contenders_than_hues_can_be_told_of(tmp_path: Path) -> None:
    many = [contender(tmp_path, f"c{number}", Ran()) for number in range(9)]
    assert is_sound(figures.latencies_over_rate(many, 1.0))
    assert is_sound(figures.goodput_over_rate(many))


@pytest.mark.parametrize("fates", [["refused", "failed"], []], ids=["none answered", "none sent"])
def test_a_rate_at_which_nobody_was_answered_is_no_point(tmp_path: Path, fates: list[Fate]) -> None:
    nobody = of(tmp_path, (1, 0, fates))
    assert is_sound(figures.latencies_over_rate([nobody], 1.0))
    assert is_sound(figures.goodput_over_rate([nobody]))
