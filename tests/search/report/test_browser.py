"""The page in a real browser: its own policy forbids every request, and a violation would be said on the console."""

import shutil
import subprocess
from pathlib import Path

import pytest

from search.report.page import make_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")


def console_of(page: Path, profile: Path) -> str:
    """What the browser's console says, line by line."""
    assert BROWSER is not None
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    arguments = [*quiet, f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run([BROWSER, *arguments], capture_output=True, text=True, timeout=300, check=True)
    assert "</html>" in done.stdout
    return "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_the_page_has_nothing_to_complain_about(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    assert console_of(make_report(tmp_path / "copy", None), tmp_path / "profile") == ""


def test_a_page_that_asked_for_something_would_be_caught(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    page = make_report(tmp_path / "copy", None)
    page.write_text(page.read_text().replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt=""></main>'))
    assert "Content Security Policy" in console_of(page, tmp_path / "profile")
