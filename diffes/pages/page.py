"""A page as HTML: everything inside it, no request to anywhere, the same bytes each time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffes.pages.sections import Section
from diffes.pages.tables import Cell, Table

State = Literal["good", "open", "bad"]


@dataclass(frozen=True)
class Page:
    """`title` is the document's, `heading` the page's own; `facts` (name, value) say what was asked.

    `result` is one sentence with figures between the words, and `state` how it is marked: good, still open, or bad.
    Of the tables of `provenance` the first is shown, the others are folded.
    """

    title: str
    heading: str
    facts: Sequence[tuple[str, str]]
    result: Sequence[str | Cell]
    sections: Sequence[Section]
    provenance: Sequence[Table]
    state: State = "good"


def render(page: Page) -> str:
    """The page's HTML; whatever it says is escaped."""
    environment = Environment(
        loader=PackageLoader("diffes.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page) + "\n"
