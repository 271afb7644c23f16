"""A page of nothing in particular."""

import re
from dataclasses import replace

import pytest

from diffes.pages.page import Page, State, render
from diffes.pages.sections import Section
from diffes.pages.tables import Cell
from tests.pages.samples import figure, page, table
from tests.pages.seen import Seen

HOSTILE = "<script>alert('Linux')</script> & \"co\""


def test_a_page_shows_all_that_it_is_given() -> None:
    section = Section("waits", "Waiting", "Who waits.", [figure("Long.")], [table("By user")], [table("By stage")])
    seen = Seen(render(page(section)))
    for said in ("A load test", "Load test of a tiny model", "Users", "8", "Waiting", "Who waits.", "Long.", "By user"):
        assert said in seen.text
    assert "By stage: the figures" in seen.text
    assert seen.alts == ["An empty figure."]
    assert seen.values.count(12345) == 4  # of the result, both tables and the provenance


def test_a_page_needs_nothing_but_itself() -> None:
    seen = Seen(render(page(Section("waits", "Waiting", figures=[figure()]))))
    assert len(seen.links) == 4
    assert all(link.startswith(("data:", "#")) for link in seen.links)
    assert "script" not in seen.tags


def test_equal_pages_give_equal_bytes() -> None:
    assert render(page(Section("waits", "Waiting", figures=[figure()]))) == render(
        page(Section("waits", "Waiting", figures=[figure()]))
    )


@pytest.mark.parametrize(("state", "marked"), [("good", "result"), ("open", "result open"), ("bad", "result bad")])
def test_the_result_is_marked_by_its_state(state: State, marked: str) -> None:
    html = render(replace(page(), state=state))
    assert re.findall('<p class="(result[^"]*)">', html) == [marked]
    assert f".{marked.replace(' ', '.')} {{" in html  # the style knows it


def test_every_figure_of_a_section_has_its_own_name_and_caption() -> None:
    html = render(page(Section("waits", "Waiting", figures=[figure("First."), figure("Second."), figure()])))
    assert re.findall('aria-label="(Waiting[^"]*)"', html) == [f"Waiting, figure {i}" for i in (1, 2, 3)]
    assert re.findall("<figcaption><p>(.*)</p></figcaption>", html) == ["First.", "Second."]


def test_a_section_says_why_it_shows_nothing_and_what_to_type() -> None:
    section = Section("waits", "Waiting", missing="Nobody waited.", commands=["diffes loadtest --users 9"])
    seen = Seen(render(page(section)))
    assert seen.missing == {"waits"}
    assert "Nobody waited." in seen.text
    assert "diffes loadtest --users 9" in seen.text


def test_only_the_first_table_of_the_provenance_is_open() -> None:
    shown, _, folded = render(page()).partition('<section id="provenance"')[2].partition("<details>")
    assert "Seconds" in shown
    assert "Options" not in shown
    assert folded.count("Options") == 3  # its summary, its region and its caption


def hostile() -> Page:
    section = Section("waits", HOSTILE, HOSTILE, [replace(figure(HOSTILE), alt=HOSTILE)], [table(HOSTILE)])
    return replace(page(section), title=HOSTILE, heading=HOSTILE, facts=[(HOSTILE, HOSTILE)], result=[Cell(HOSTILE)])


def test_whatever_a_page_says_is_escaped() -> None:
    seen = Seen(render(hostile()))
    assert "script" not in seen.tags
    assert seen.alts == [HOSTILE]
    assert seen.text.count(HOSTILE) == 10
