"""What a scrape must not show: paths of strangers."""

import re
from collections.abc import Iterable


def known_endpoints_only(text: str, endpoints: Iterable[str]) -> str:
    """A scrape without the lines of other endpoints: a scanner's paths must not become series."""
    known = set(endpoints)
    lines = (line for line in text.splitlines(keepends=True) if _endpoint(line) in known | {None})
    return "".join(lines)


def _endpoint(line: str) -> str | None:
    found = re.search(r'[{,]endpoint="((?:[^"\\]|\\.)*)"', line)
    return found.group(1) if found else None
