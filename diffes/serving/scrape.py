"""What a scrape must not show: paths of strangers, and workers that are gone."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead


def known_endpoints_only(text: str, endpoints: Iterable[str]) -> str:
    """A scrape without the lines of other endpoints: a scanner's paths must not become series."""
    known = set(endpoints)
    lines = (line for line in text.splitlines(keepends=True) if _endpoint(line) in known | {None})
    return "".join(lines)


def _endpoint(line: str) -> str | None:
    found = re.search(r'[{,]endpoint="((?:[^"\\]|\\.)*)"', line)
    return found.group(1) if found else None


def forget_dead_processes() -> None:
    """Take gauges of killed workers out of the sums; a respawned worker calls this first."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = int(file.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
