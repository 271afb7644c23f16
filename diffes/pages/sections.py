"""What a page is made of: sections that show figures and tables, or say what is missing and why."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from diffes.pages.style import DOTS_PER_INCH
from diffes.pages.tables import Table

CSS_DOTS_PER_INCH = 96


@dataclass(frozen=True)
class Figure:
    """A PNG and what it shows, for who cannot see it; `caption` stands below it."""

    file: str
    png: bytes
    alt: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The image inside a page."""
        return f"data:image/png;base64,{b64encode(self.png).decode('ascii')}"

    @property
    def width(self) -> int:
        """CSS pixels at 100 %: figures are drawn finer than that, for dense screens."""
        return int.from_bytes(self.png[16:20], "big") * CSS_DOTS_PER_INCH // DOTS_PER_INCH


@dataclass(frozen=True)
class Section:
    """`text` stands above the figures; `missing` says why there is nothing to show. `commands` are what to type next.

    `folded` tables lie behind a disclosure.
    """

    id: str
    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    missing: str = ""
    commands: Sequence[str] = ()
