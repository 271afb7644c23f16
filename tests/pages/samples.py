"""Pages small enough to read."""

from diffes.pages.page import Page
from diffes.pages.sections import Figure, Section
from diffes.pages.style import new_figure, to_png
from diffes.pages.tables import Table, count, plain_table


def figure(caption: str = "", width: float = 3) -> Figure:
    return Figure("empty.png", to_png(new_figure(width, 2)), "An empty figure.", caption)


def table(caption: str) -> Table:
    return Table(caption, ["", "answered"], [[count(1), count(12345)]], [count(2), count(7)])


def page(*sections: Section) -> Page:
    return Page(
        title="A load test",
        heading="Load test of a tiny model",
        facts=[("Users", "8")],
        result=["Answered ", count(12345), " requests."],
        sections=sections,
        provenance=[table("Seconds"), plain_table("Options", {"seed": 0, "limit": None})],
    )
