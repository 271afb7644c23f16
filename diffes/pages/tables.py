"""Tables of a page: exact numbers beside how a person reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Cell:
    """A value: its text, and the exact number behind it, None for what is no number."""

    text: str
    exact: float | None = None


@dataclass(frozen=True)
class Table:
    """A caption, column headings, rows whose first cell is their heading, and a last row that sums up."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()


def number(value: float | None, digits: int = 3) -> Cell:
    """A figure to so many digits; a dash where there is none."""
    if value is None or not isfinite(value):
        return Cell("–")
    text = f"{value:#.{digits}g}".rstrip(".") if abs(value) < 10**digits else grouped(value)
    return Cell(text, value)


def grouped(value: float) -> str:
    """A large figure, thousands apart by thin spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def count(value: int) -> Cell:
    """A whole number."""
    return Cell(grouped(value), value)


def share(value: float) -> Cell:
    """A share as percent."""
    return Cell(f"{100 * value:.1f}\u00a0%", value)


def plain_table(caption: str, entries: Mapping[str, object]) -> Table:
    """Names and values."""
    rows = [[Cell(name), Cell("not set" if value is None else str(value))] for name, value in entries.items()]
    return Table(caption, ["name", "value"], rows)
