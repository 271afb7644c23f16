"""A search's page in a real browser."""

import shutil
from pathlib import Path

from search.report.page import make_report
from tests.pages.browser import console_of, needs_browser

pytestmark = needs_browser


def test_the_page_has_nothing_to_complain_about(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    assert console_of(make_report(tmp_path / "copy", None), tmp_path / "profile") == ""
