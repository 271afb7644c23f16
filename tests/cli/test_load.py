"""`diffes loadtest` as it is typed: what it takes, what it says, and how it exits."""

import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from diffes.bundle import Bundle
from diffes.cli import main
from diffes.cli.load import SCENARIOS
from loadtest import job
from loadtest.arrivals import Poisson
from loadtest.report.page import REPORT_FILE
from loadtest.result import RESULT, Result
from loadtest.scenario import load_scenario, shipped
from tests.loadtest.commandline import exit_of, setting, typed
from tests.loadtest.instant import instant
from tests.loadtest.server import serving

MINE = """
about = "Twenty at once."
seconds = 1
arrivals = { kind = "constant", rate = 20 }
slo = { within = 5 }
"""
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, and on a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "mine.toml").write_text(MINE)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service that answers at once."""
    with serving(instant()) as server:
        yield server.url


@pytest.mark.parametrize("name", shipped())
def test_every_scenario_that_ships_can_be_read_and_says_what_it_is_about(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.about[0].isupper()
    assert scenario.about[-1] in ".?"
    assert scenario.arrivals.kind != "closed" or name == "closed"


def test_every_scenario_that_ships_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(SCENARIOS.split(", ")) == shipped()
    assert exit_of("--help") == 0
    assert SCENARIOS in " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


def test_a_test_that_passes_exits_0_and_its_verdict_is_all_of_stdout(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of("mine.toml", "--url", url, "--seed", 3) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert said.out.startswith("PASS: answered within 5 s of when due: 100.00% of 20 (asked: 99.00% or more)")
    folder = Path("out/loadtest/mine")
    assert f"wrote {folder / REPORT_FILE}" in said.err
    assert "service/01: 20/s offered, 100.0% in time, p99 " in said.err
    assert {RESULT, REPORT_FILE, "rows.csv", "state.json", "service"} == {path.name for path in folder.iterdir()}
    assert Result.load(folder).seed == 3


def test_a_test_that_does_not_exits_1_and_says_why_and_is_not_taken_for_a_new_one(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = setting("slo.within=0.00001", "arrivals.rate=5", "mix.stream=0.5")
    asked = ["./mine.toml", "--url", f"{url}/", "--out", "here", *settings]
    assert exit_of(*asked) == 1
    assert capsys.readouterr().out.startswith("FAIL: answered within 1e-05 s of when due: 0.00% of 5 (asked: 99.00%")
    result = Result.load(Path("here"))
    assert (result.asked.slo.within, result.asked.mix.stream, result.scenario) == (0.00001, 0.5, "mine")
    assert exit_of(*asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "invalid out: expected a new folder, or a test that was killed, found here/report.html." in said.err


WRONG: dict[str, tuple[list[str], str]] = {
    "nobody": (
        ["mine.toml"],
        "invalid service: expected --url of one that runs, or --bundle to start one, found neither",
    ),
    "no such scenario": (
        ["lost", "--url", NOBODY],
        f"there is no scenario lost: expected a TOML file or one of {', '.join(shipped())}",
    ),
    "no such file": (["lost.toml", "--url", NOBODY], "there is no scenario lost.toml: expected a TOML file"),
    "no TOML": (
        ["mine.toml", "--url", NOBODY, "--set", "arrivals.kind=poisson"],
        "cannot set arrivals.kind=poisson: expected a TOML line",
    ),
    "no such key": (
        ["mine.toml", "--url", NOBODY, "--set", "mix.colour=1"],
        "scenario mine is malformed at mix.colour",
    ),
    "not there": (
        ["mine.toml", "--url", NOBODY],
        f"{NOBODY} is no Diffes service: expected GET /v1/info, found ConnectError",
    ),
    "settings": (
        ["mine.toml", "--url", NOBODY, "--threads", "2", "--workers", "auto"],
        "invalid settings: expected none of a service that runs already, found threads, workers",
    ),
    "cold": (["cold-start", "--url", NOBODY], "invalid service: expected --bundle, so that it is started for the test"),
    "twice": (
        ["mine.toml", "--url", NOBODY, "--compare", "a", "--compare", "a"],
        "invalid compare: expected different names, found a, a",
    ),
    "late fault": (
        ["kill-worker", "--url", NOBODY, "--set", "seconds=20"],
        "scenario kill-worker is malformed at the top: expected ",
    ),
    "no option": (["mine.toml", "--rate", "2"], "No such option: --rate"),
    "no scenario": ([], "Missing argument"),
    "no number": (["mine.toml", "--url", NOBODY, "--seed", "-1"], "Invalid value for '--seed'"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_tested_exits_2_and_says_what_was_expected_and_found(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err


class Stopped(Exception):
    """Before anything was tested."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a load test would be made of; none is."""
    told: dict[str, Any] = {}

    def made(**given: Any) -> None:
        told.update(given)
        raise Stopped

    monkeypatch.setattr(job, "LoadTest", made)
    return told


def ask(*arguments: object) -> None:
    with typed(*arguments), pytest.raises(Stopped):
        main()


@pytest.mark.parametrize(
    ("options", "device"),
    [
        ([], "cpu"),
        (["--device", "cuda:1"], "cuda:1"),
        (["--backend", "torch", "--device", "cuda"], "cuda"),
        (["--backend", "triton", "--device", "gpu-1:8001"], "cpu"),
    ],
    ids=["cpu", "gpu", "torch", "triton"],
)
def test_references_are_made_where_the_service_calculates_unless_that_is_elsewhere(
    options: list[str], device: str, asked: Mapping[str, Any], tiny_bundle: Bundle
) -> None:
    ask("smoke", "--bundle", tiny_bundle.folder, *options)
    assert asked["device"] == device
    assert asked["bundle"].folder == tiny_bundle.folder
    assert (asked["name"], asked["out"], asked["features"]) == ("smoke", Path("out/loadtest/smoke"), None)


def test_several_are_compared_by_features(asked: Mapping[str, Any], tiny_bundle: Bundle) -> None:
    settings = setting('arrivals={kind="poisson", rate=2}', "mix.seeds=4")
    ask("steady", "--bundle", tiny_bundle.folder, "--compare", "dense", "--compare", "mixed", *settings)
    assert [each.name for each in asked["contenders"]] == ["dense", "mixed"]
    assert asked["features"] is not None
    assert (asked["scenario"].arrivals, asked["scenario"].mix.seeds) == (Poisson(rate=2), 4)
    assert asked["seed"] == 0


def test_whoever_ends_it_ends_what_it_has_started_unless_it_was_told_to_stay(asked: Mapping[str, Any]) -> None:
    with typed("mine.toml", "--url", NOBODY):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with pytest.raises(Stopped):
            main()
        assert asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
