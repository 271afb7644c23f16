"""Load tests of real services: what a bundle's comes to from its start, and what one that runs already does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.report.page import REPORT_FILE
from loadtest.service import Service, serve_bundle
from tests.loadtest.commandline import Running, exit_of, only, setting, sound

pytestmark = pytest.mark.alone

SLOW = "mix.steps={200=1}"  # beside a tenth of a second a busy machine's moments are short


@pytest.fixture(scope="module")
def started(tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Tests that start a service, side by side."""
    root, bundle = tmp_path_factory.mktemp("started"), ("--bundle", tiny_bundle_folder, "--threads", 1)
    running = {
        "smoke": Running.begin(root / "smoke", "smoke", *bundle, *setting("mix.steps={100=1}")),
        "cold-start": Running.begin(root / "cold-start", "cold-start", *bundle, *setting("seconds=25")),
    }
    yield running
    for each in running.values():
        each.kill()


def passed(test: Running) -> Path:
    """The folder of a test that has passed."""
    assert test.end() == 0, test.said.read_text()
    return test.folder


def test_smoke_starts_a_bundle_loads_it_and_finds_it_sound(started: dict[str, Running]) -> None:
    folder = passed(started["smoke"])
    result, run = sound(folder)
    contender, _ = only(result)
    assert run.compared == "each answer's own times, the service's log, request by request, the service's counters"
    assert contender.told["backend"] == "onnxruntime"
    assert contender.start_seconds is not None
    assert contender.images is not None
    assert (contender.images.seeds, contender.images.maker) == (6, "torch on cpu, each alone")
    assert run.findings.memory is not None
    assert {stage.schedule for stage in run.findings.stages} == {"mixed"}
    assert (folder / REPORT_FILE).exists()


def test_whoever_comes_while_a_service_starts_is_told_what_became_of_it(started: dict[str, Running]) -> None:
    result, run = sound(passed(started["cold-start"]))
    contender, _ = only(result)
    assert contender.start_seconds is None
    assert run.findings.first_answer is not None
    assert run.findings.first_answer > 1
    early = {reason.split(",")[0] for reason in run.findings.reasons}
    assert early <= {"could not connect: nobody listens", "503 not_ready", "connection lost"}


@pytest.fixture(scope="module")
def service(tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs, whoever has started it."""
    running = serve_bundle(tiny_bundle_folder, tmp_path_factory.mktemp("running"), {"threads": "1"})
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


def loaded(service: Service, folder: Path, scenario: str, *settings: str) -> int:
    """The exit code of a test of a service that runs here and logs."""
    where = ["--url", service.url, "--log", service.log, "--out", folder]
    return exit_of(scenario, *where, *setting(SLOW, *settings))


def test_a_service_that_runs_is_loaded_as_it_is_and_its_log_is_read(service: Service, tmp_path: Path) -> None:
    assert loaded(service, tmp_path, "smoke", "seconds=4") == 0
    result, run = sound(tmp_path)
    contender, _ = only(result)
    assert "the service's log, request by request" in run.compared
    assert contender.start_seconds is None
    assert contender.images is not None
    assert contender.images.maker == "the service itself, each alone"
    assert service.is_ready()


def test_in_a_storm_of_callers_who_leave_the_others_get_theirs(service: Service, tmp_path: Path) -> None:
    assert loaded(service, tmp_path, "cancel-storm", "requests=40") == 0
    _, run = sound(tmp_path)
    assert run.findings.fates["left"] > 20
    assert run.findings.fates["failed"] == run.findings.fates["refused"] == 0


def test_overloaded_it_serves_whom_it_can_and_tells_the_rest(service: Service, tmp_path: Path) -> None:
    loaded(service, tmp_path, "overload", "requests=150")
    _, run = sound(tmp_path)
    assert run.findings.fates["refused"] > 0
    assert {reason.split(":")[0] for reason in run.findings.reasons} <= {"429 deadline", "504 deadline_exceeded"}
