"""A page as its reader gets it."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from diffes.checkpoint import Checkpoint
from search.report.page import make_report

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """A page's text, exact figures, links, images and tables; every element that is opened is closed.

    `missing` are the sections that say why they show nothing.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.open = "", list[str](), list[str]()
        self.values, self.links, self.alts = list[float](), list[str](), list[str]()
        self.section, self.missing = "", set[str]()
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.values.append(float(given["value"] or ""))
        if tag == "img":
            self.alts.append(given["alt"] or "")
        if given.get("class") == "missing":
            self.missing.add(self.section)
        if tag == "section":
            self.section = given["id"] or ""
        self.links += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path, checkpoint: Checkpoint | None = None, **options: Any) -> Page:
    return Page(make_report(folder, checkpoint, **options).read_text(encoding="utf-8"))


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def read(path: Path) -> Any:
    return json.loads(path.read_text())
