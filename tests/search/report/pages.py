"""Pages of search folders, and their files."""

import json
import shutil
from pathlib import Path
from typing import Any

from diffes.checkpoint import Checkpoint
from search.report.page import make_report
from tests.pages.seen import Seen


def page_of(folder: Path, checkpoint: Checkpoint | None = None, **options: Any) -> Seen:
    return Seen(make_report(folder, checkpoint, **options).read_text(encoding="utf-8"))


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def read(path: Path) -> Any:
    return json.loads(path.read_text())
