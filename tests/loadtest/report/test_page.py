"""The page of a load test as its reader gets it, from its files alone."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from diffes.errors import LoadTestError
from loadtest.faults import Happened
from loadtest.report.page import REPORT_FILE, make_report
from loadtest.saturation import Sustained
from loadtest.watch import Sample
from tests.loadtest.report.folders import BEGAN, SEARCH, Ran, contender, one, searched, whole
from tests.pages.seen import Seen

SILENT = [Sample(BEGAN + at) for at in range(5)]
NONE = Sustained(rate=None, limit=1.0, confirmed=False)


def of_none(root: Path, ran: Ran) -> Path:
    """A search of two that found nothing."""
    return whole(root, *(contender(root, name, ran, sustained=NONE) for name in "ab"), asked=SEARCH)


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "one": one,
    "search": lambda root: searched(root, "service"),
    "several": lambda root: searched(root, "dense", "fast"),
    "faults": lambda root: one(root, Ran(happened=[Happened("kill-worker", 2, 2, "killed worker 7")])),
    "no metrics": lambda root: one(root, Ran(samples=SILENT, steps=None)),
    "none answered": lambda root: one(root, Ran(("refused", "failed"))),
    "none sent": lambda root: one(root, Ran(())),
    "a search, none answered": lambda root: of_none(root, Ran(("refused",))),
    "a search, none sent": lambda root: of_none(root, Ran(())),
}


Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The page of each of these folders, made once."""
    root, pages = tmp_path_factory.mktemp("pages"), dict[str, Path]()

    def page(name: str) -> Path:
        if name not in pages:
            pages[name] = make_report(FOLDERS[name](root / name))
        return pages[name]

    return page


def text_of(page: Path) -> str:
    return Seen(page.read_text(encoding="utf-8")).text


def headings(html: str) -> list[str]:
    return re.findall(r'<section id="([^"]*)"', html)


@pytest.mark.parametrize("name", ["several", "faults", "none sent"])
def test_a_page_is_made_of_the_files_alone_and_always_the_same(made: Make, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "another" / "machine"
    shutil.copytree(made(name).parent, copy)
    (copy / REPORT_FILE).unlink()
    assert make_report(copy).read_bytes() == made(name).read_bytes()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_page_needs_nothing_but_itself_and_tells_what_it_shows(made: Make, name: str) -> None:
    html = made(name).read_text(encoding="utf-8")
    page, ids = Seen(html), re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert {link for link in page.links if link.startswith("#")} == {f"#{name}" for name in headings(html)}
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags
    assert page.alts
    assert all(page.alts)
    assert page.tags.count("caption") == page.tags.count("table") > 3
    assert all(int(width) < 1200 for width in re.findall(r'<img [^>]*width="(\d+)"', html))


ENDS = ["images", "agreement", "provenance"]
OF_A_SERVICE = ["course-service", "inside-service", "memory-service"]


@pytest.mark.parametrize(
    ("name", "sections", "missing"),
    [
        ("one", ["checks", *OF_A_SERVICE], {"images"}),
        ("search", ["checks", "rates", *OF_A_SERVICE], {"images"}),
        ("no metrics", ["checks", *OF_A_SERVICE], {"inside-service", "memory-service", "images"}),
        (
            "several",
            ["checks", "comparison", "rates"]
            + [f"{part}-{name}" for name in ("dense", "fast") for part in ("course", "inside", "memory")],
            {"images"},
        ),
    ],
)
def test_a_page_has_a_section_for_all_there_is_to_tell(
    made: Make, name: str, sections: list[str], missing: set[str]
) -> None:
    html = made(name).read_text(encoding="utf-8")
    assert headings(html) == [*sections, *ENDS]
    assert Seen(html).missing == missing


def test_what_was_asked_promised_and_found_is_at_the_top(made: Make) -> None:
    top = text_of(made("one")).partition("What had to hold")[0]
    for told in ("Load test: mine", "One a second.", "90.0% answered within 2 s of when they were due", "bundle b1"):
        assert told in top
    assert "ready 8.5 s after its start" in top
    assert "FAIL: answered within 2 s of when due: 77.77% of 9 (asked: 90.00% or more)" in top


def test_the_result_is_marked_by_whether_all_holds(made: Make) -> None:
    html = made("one").read_text() + made("search").read_text()
    assert re.findall('<p class="(result[^"]*)">', html) == ["result bad", "result"]


def test_what_went_wrong_on_purpose_is_told(made: Make) -> None:
    assert "killed worker 7" in text_of(made("faults"))


def test_the_course_that_is_shown_is_that_of_the_best_run(made: Make) -> None:
    assert "Requests: run service/02, 2/s" in text_of(made("search"))


HOSTILE = "<script>alert('x')</script> & \"co\""


def test_a_unit_is_told_in_seconds_and_whatever_files_say_is_escaped(tmp_path: Path) -> None:
    hostile = contender(tmp_path, "service", Ran()).model_copy(update={"told": {"bundle": HOSTILE}})
    page = Seen(make_report(whole(tmp_path, hostile, unit=0.25, scenario=HOSTILE)).read_text(encoding="utf-8"))
    assert "0.25 s, what one request takes alone" in page.text
    assert "answered within 0.5 s of when they were due" in page.text
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 3


def test_a_folder_without_a_test_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="no load test in"):
        make_report(tmp_path)
    assert not (tmp_path / REPORT_FILE).exists()


@pytest.mark.parametrize("file", ["whole.json", "."])
def test_a_run_whose_files_are_missing_is_named(tmp_path: Path, file: str) -> None:
    folder = one(tmp_path) / "service" / "01"
    shutil.rmtree(folder) if file == "." else (folder / file).unlink()
    with pytest.raises(LoadTestError, match="is not whole: expected the files of service/01, found some are missing"):
        make_report(tmp_path)
