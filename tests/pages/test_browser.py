from pathlib import Path

from diffes.pages.page import render
from diffes.pages.sections import Section
from tests.pages.browser import console_of, needs_browser
from tests.pages.samples import figure, page

pytestmark = needs_browser


def test_a_page_has_nothing_to_complain_about(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render(page(Section("waits", "Waiting", figures=[figure()]))), encoding="utf-8")
    assert console_of(path, tmp_path / "profile") == ""


def test_a_page_that_asked_for_something_would_be_caught(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    html = render(page(Section("waits", "Waiting", figures=[figure()])))
    path.write_text(html.replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt=""></main>'), encoding="utf-8")
    assert "Content Security Policy" in console_of(path, tmp_path / "profile")
