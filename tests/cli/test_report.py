"""`diffes search` and `diffes report` as a person runs them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from diffes.cli import app

SMALL = ["--macs", 0.3, "--steps", 4, "--stages", 4, "--population", 4, "--generations", 0, "--probes", 2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def searched(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "search"
    found = run("search", tiny_model_folder, "--out", out, "--effort", "quick", *SMALL)
    assert found.exit_code == 0, found.output + repr(found.exception)
    return out


def test_a_search_leaves_a_report(searched: Path) -> None:
    html = (searched / "report.html").read_text()
    assert "No images were asked for" in html  # a quick search draws none


def test_a_report_with_the_model_has_samples(searched: Path, tiny_model_folder: Path) -> None:
    made = run("report", searched, tiny_model_folder, "--images", 2)
    assert made.exit_code == 0, repr(made.exception)
    assert (searched / "samples.png").exists()


def test_a_report_without_the_model_says_how_to_have_samples(searched: Path) -> None:
    made = run("report", searched)
    assert made.exit_code == 0, repr(made.exception)
    html = (searched / "report.html").read_text()
    assert "The search was not of the bundled model" in html
    assert "diffes report search MODEL" in html


def test_a_search_can_leave_no_report(tiny_model_folder: Path, tmp_path: Path) -> None:
    found = run("search", tiny_model_folder, "--out", tmp_path / "s", "--effort", "quick", *SMALL, "--no-report")
    assert found.exit_code == 0, repr(found.exception)
    assert (tmp_path / "s/schedule.json").exists()
    assert not (tmp_path / "s/report.html").exists()


def test_a_front_leaves_a_report_and_says_how_to_export_a_point(tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "front"
    found = run(
        "search", tiny_model_folder, "--out", out, "--effort", "quick", *SMALL, "--macs", "0.2:0.6", "--population", 8
    )
    assert found.exit_code == 0, found.output + repr(found.exception)
    assert f"{out}/pareto.json@SHARE" in found.output.replace("\n", "")
    html = (out / "report.html").read_text()
    assert "Search of a Pareto front" in html
    assert "diffes export --schedule front/pareto.json@0." in html
