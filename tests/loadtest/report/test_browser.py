"""A load test's page in a real browser."""

from pathlib import Path

import pytest

from loadtest.faults import Happened
from loadtest.report.page import make_report
from tests.loadtest.report.folders import Ran, one, searched
from tests.pages.browser import console_of, needs_browser

pytestmark = needs_browser


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_the_page_has_nothing_to_complain_about(tmp_path: Path, several: bool) -> None:
    happened = [Happened("pause-worker", 4, 6, "stopped worker 8")]
    folder = searched(tmp_path, "dense", "fast") if several else one(tmp_path, Ran(happened=happened))
    assert console_of(make_report(folder), tmp_path / "profile") == ""
