"""A page as its reader gets it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img"}


class Seen(HTMLParser):
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
