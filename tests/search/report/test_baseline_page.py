"""The page of a baseline, which measures no table and has no knapsack."""

from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from search.presets import setting_of
from tests.search.report.conftest import searched
from tests.search.report.pages import copied, page_of


@pytest.fixture(scope="module", params=["diff-es", "uniform"])
def baseline(
    request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("report") / str(request.param)
    return searched(tiny_checkpoint, out, **({"method": request.param} | setting_of(request.param)))


def test_its_page_says_that_there_is_no_table_and_no_knapsack(
    baseline: Path, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    page = page_of(copied(baseline, tmp_path / "copy"), tiny_checkpoint, images=1)
    assert page.missing == {"errors"}
    assert f"The method {baseline.name} measures no error table." in page.text
    assert "so there is no knapsack beside it" in page.text
    assert "No line for knapsack" not in page.text


def test_an_interrupted_one_says_what_is_missing(baseline: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = copied(baseline, tmp_path / "copy")
    for name in ("schedule.json", "search.json"):
        (folder / name).unlink()
    page = page_of(folder, tiny_checkpoint)
    assert page.missing == {"levels", "samples", "cost", "comparison", "errors"}
    assert "table entries" not in page.text
