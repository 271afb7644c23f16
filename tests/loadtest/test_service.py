"""A service of ours is started, waited for and ended, and nothing of it is left."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from diffes.errors import LoadTestError
from diffes.serving.launch import server_home
from loadtest.service import Service, free_port, serve_bundle
from tests.loadtest.processes import runs
from tests.loadtest.programs import ANSWERS, EXITS, STUBBORN, WITH_WORKERS
from tests.serving.waiting import wait_for

Launch = Callable[..., Service]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a program; what it has started is ended with the test."""
    started: list[Service] = []

    def launched(program: str, *arguments: object, log: str = "log", **options: Any) -> Service:
        port = free_port()
        command = [sys.executable, "-c", program, *(str(port) if each == "PORT" else str(each) for each in arguments)]
        options = {"environment": {}} | options
        started.append(Service.launch(command, port, tmp_path / "logs" / log, **options))
        return started[-1]

    yield launched
    for service in started:
        service.kill()


def ended(service: Service) -> Service:
    """Once it has ended by itself."""
    service.process.wait(60)
    return service


def test_it_is_waited_for_until_it_says_that_it_is_ready(launch: Launch) -> None:
    service = launch(ANSWERS, "PORT", 503, 503, 200)
    assert not service.is_ready()
    service.wait_until_ready(60)
    assert service.is_ready()


def test_one_that_ends_before_is_told_with_its_code_and_the_end_of_its_log(launch: Launch) -> None:
    service = launch("print(*range(100), sep='\\n', flush=True); raise SystemExit('no such bundle')")
    with pytest.raises(LoadTestError) as error:
        service.wait_until_ready(60)
    told, *lines = str(error.value).splitlines()
    assert told == (
        f"the service did not get ready: expected 200 from {service.url}/readyz, found that it ended with code 1:"
    )
    assert lines == [*map(str, range(86, 100)), "no such bundle"]


def test_one_that_takes_too_long_is_told_and_still_runs(launch: Launch) -> None:
    service = launch(ANSWERS, "PORT", 503)
    with pytest.raises(LoadTestError, match="found nothing after 0.5 s"):
        service.wait_until_ready(0.5)
    assert service.process.poll() is None


def test_nobody_who_listens_is_not_ready(launch: Launch) -> None:
    assert not launch("").is_ready()


def test_its_log_has_all_that_it_says_even_what_is_no_text(launch: Launch) -> None:
    service = launch("import os; os.write(1, b'out\\xff\\n'); os.write(2, b'err\\n')")
    assert ended(service).text() == "out\ufffd\nerr\n"


def test_it_knows_what_it_is_told_and_no_more(launch: Launch, tmp_path: Path) -> None:
    program = (
        "import json, os; print(json.dumps([os.getcwd(), {k: v for k, v in os.environ.items() if k[:3] != 'LC_'}]))"
    )
    service = launch(program, environment={"TOLD": "yes"}, folder=tmp_path)
    assert json.loads(ended(service).text()) == [str(tmp_path), {"TOLD": "yes"}]


def test_what_interrupts_us_does_not_reach_it(launch: Launch) -> None:
    service = launch(ANSWERS, "PORT", 200)
    assert os.getsid(service.process.pid) == service.process.pid != os.getsid(0)


def test_terminated_it_tells_its_exit_code(launch: Launch) -> None:
    service = launch(EXITS)
    wait_for(lambda: "here" in service.text(), 60)
    assert service.terminate() == 7
    assert service.terminate() == 7


def test_one_that_does_not_end_is_told(launch: Launch) -> None:
    service = launch(STUBBORN)
    wait_for(lambda: "here" in service.text(), 60)
    service.process.send_signal(signal.SIGTERM)
    with pytest.raises(LoadTestError, match=r"the service does not end: expected its end within 0\.2 s of SIGTERM"):
        service.end(0.2)
    service.kill()
    assert service.process.returncode == -signal.SIGKILL


def test_its_processes_are_all_that_it_has_started(launch: Launch) -> None:
    service = launch(WITH_WORKERS)
    wait_for(lambda: "here" in service.text(), 60)
    assert len(service.processes()) == 3
    service.kill()
    assert service.processes() == []


@pytest.mark.parametrize("stopped", [False, True])
def test_killed_it_leaves_no_worker_even_one_that_stands_still(launch: Launch, stopped: bool) -> None:
    service = launch(WITH_WORKERS)
    wait_for(lambda: "here" in service.text(), 60)
    family = service.processes()
    if stopped:
        family[-1].suspend()
    service.kill()
    assert not any(runs(process) for process in family)
    service.kill()


def test_one_that_has_ended_can_be_killed(launch: Launch) -> None:
    service = ended(launch("raise SystemExit(3)"))
    service.kill()
    assert service.process.returncode == 3


def test_what_a_killed_test_has_left_is_ended_before_the_same_is_started_again(launch: Launch) -> None:
    left = launch(WITH_WORKERS)
    wait_for(lambda: "here" in left.text(), 60)
    family = left.processes()
    other = launch(WITH_WORKERS, log="other")
    again = launch(WITH_WORKERS)
    assert not any(runs(process) for process in family)
    assert runs(psutil.Process(other.process.pid))
    assert runs(psutil.Process(again.process.pid))


def test_who_has_got_the_number_of_an_ended_service_is_left_alone(launch: Launch, tmp_path: Path) -> None:
    ended(launch(""))
    name = tmp_path / "logs" / "log.pid"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as another:
        name.write_text(f"{another.pid} {name.read_text().split()[1]}")
        launch("")
        assert another.poll() is None
        another.kill()


def test_a_free_port_is_one_that_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a service would have been launched with; one that has ended is there instead."""
    told: dict[str, Any] = {}
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    def launch(command: list[str], port: int, log: Path, **options: Any) -> Service:
        told.update(command=command, port=port, log=log, **options)
        return Service(process, "", log)

    monkeypatch.setattr(Service, "launch", launch)
    return told


def test_a_bundle_is_served_with_settings_that_come_before_the_environment_s(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    for name, value in (("THREADS", "7"), ("MAX_QUEUE", "9"), ("LOG", "text")):
        monkeypatch.setenv(f"DIFFES_{name}", value)
    monkeypatch.chdir(tmp_path)
    serve_bundle(Path("bundle"), tmp_path / "out", {"threads": "1", "backend": "torch"})
    assert told["command"][1:] == ["-m", "diffes", "serve", str(tmp_path / "bundle"), "--port", str(told["port"])]
    assert told["log"] == tmp_path / "out" / "service.log"
    found = {name: told["environment"][f"DIFFES_{name}"] for name in ("THREADS", "BACKEND", "MAX_QUEUE", "LOG")}
    assert found == {"THREADS": "1", "BACKEND": "torch", "MAX_QUEUE": "9", "LOG": "json"}


def test_what_only_this_service_wrote_goes_with_it(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    service = serve_bundle(Path("bundle"), tmp_path / "out", {})
    home = server_home("127.0.0.1", told["port"])
    (home / "metrics").mkdir()
    service.kill()
    assert not home.exists()
    assert serve_bundle(Path("bundle"), tmp_path / "out", {"cache": str(tmp_path)}).leaves is None
