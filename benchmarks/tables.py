"""Markdown tables made from results, each between `<!-- begin NAME -->` and `<!-- end NAME -->` of a document."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffes.files import write_text_atomically

MISSING = "–"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def quartiles(values: Sequence[float], digits: int = 2) -> str:
    """Of three the middle, and the others in brackets."""
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low}–{high})"


def versions_of(machine: Mapping[str, Any]) -> str:
    """Of everything that a result was measured with (diffes.bench.machine)."""
    return ", ".join(f"{name} {version}" for name, version in machine["versions"].items())


def filled(document: str, tables: Mapping[str, str]) -> str:
    """The document with each table between its markers; SystemExit for one without a place."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if len(place.findall(document)) != 1:
            raise SystemExit(f"expected one place for {name}, found {len(place.findall(document))}")
        document = place.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", document)  # type: ignore[misc]
    return document


def write_tables(path: Path, tables: Mapping[str, str], *, check: bool) -> None:
    """Put the tables into a document, or with `check` only say whether they are there; SystemExit if not."""
    before = path.read_text()
    after = filled(before, tables)
    if not check:
        write_text_atomically(path, after)
    elif after != before:
        sys.exit(f"{path} is not what the results give: run without --check")
