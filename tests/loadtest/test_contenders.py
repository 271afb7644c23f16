"""What is loaded is opened, such that faults can be made to it, and ended again, whatever happens meanwhile."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diffes.errors import BackendError, LoadTestError
from loadtest import contenders
from loadtest.contenders import Opener, peer, running, served
from loadtest.disk import small_disk
from loadtest.faults import Fault
from loadtest.service import Service, free_port
from tests.loadtest.programs import ANSWERS, STUBBORN
from tests.serving.waiting import wait_for

CUT = Fault(kind="cut-triton", at=1, lasting=1)
FILL = Fault(kind="fill-disk", at=1, lasting=1)
SECONDS = 60.0


@dataclass
class Started:
    """The services that were started, and with what."""

    program: tuple[str, ...] = (ANSWERS, "200")
    services: list[Service] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    settings: list[Mapping[str, object]] = field(default_factory=list)

    def __call__(self, folder: Path, settings: Mapping[str, object]) -> Service:
        port, (program, *arguments) = free_port(), self.program
        command = [sys.executable, "-c", program, str(port), *arguments]
        self.services.append(Service.launch(command, port, folder / "service.log", environment={}))
        self.folders.append(folder)
        self.settings.append(settings)
        return self.services[-1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Stands where bundles and peers are served."""
    made = Started()
    monkeypatch.setattr(contenders, "serve_bundle", lambda _, folder, settings: made(folder, settings))
    monkeypatch.setattr(contenders, "start_peer", lambda _, __, folder, **settings: made(folder, settings))
    yield made
    for service in made.services:
        service.kill()


def test_a_service_that_runs_is_there_as_it_is_and_stays(tmp_path: Path) -> None:
    with running("http://here/path/", "secret", tmp_path / "log")(tmp_path, True) as target:
        assert (target.url, target.key, target.log) == ("http://here/path", "secret", tmp_path / "log")
        assert target.service is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("waits", [True, False])
def test_a_bundle_is_served_and_waited_for_unless_it_starts_cold(started: Started, tmp_path: Path, waits: bool) -> None:
    started.program = (ANSWERS, "503", "503", "200")
    with served(Path("bundle"), {"threads": "1"}, "secret")(tmp_path, waits) as target:
        (service,) = started.services
        assert service.is_ready() == waits
        assert (target.url, target.key, target.service) == (service.url, "secret", service)
        assert (target.bundle, target.log) == (Path("bundle"), tmp_path / "service.log")
        assert (target.disk, target.relay) == (None, None)
    assert started.settings == [{"threads": "1"}]
    assert service.process.returncode == -15


def test_a_peer_has_no_log_that_could_be_read_and_no_key(started: Started, tmp_path: Path) -> None:
    with peer("fastapi", Path("model"), {"steps": 4})(tmp_path, True) as target:
        assert (target.key, target.bundle, target.log) == ("", None, None)
        assert target.service is started.services[0]
    assert started.settings == [{"steps": 4}]
    assert started.services[0].process.returncode == -15


OPENERS: dict[str, Callable[[], Opener]] = {
    "bundle": lambda: served(Path("bundle"), {}, ""),
    "peer": lambda: peer("fastapi", Path("model"), {}),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_it_is_ended_at_once_if_the_test_is_interrupted(
    started: Started, tmp_path: Path, opener: Callable[[], Opener]
) -> None:
    with pytest.raises(KeyboardInterrupt), opener()(tmp_path, True):
        raise KeyboardInterrupt
    assert started.services[0].process.returncode == -9


def test_it_is_ended_if_it_does_not_get_ready(started: Started, tmp_path: Path) -> None:
    started.program = ("raise SystemExit('no such bundle')",)
    with pytest.raises(LoadTestError, match="no such bundle"), served(Path("bundle"), {}, "")(tmp_path, True):
        pass
    assert started.services[0].process.poll() == 1


def test_one_that_does_not_end_is_told_and_ended(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Service.end
    monkeypatch.setattr(Service, "end", lambda service: end(service, 0.2))
    started.program = (STUBBORN,)
    told = pytest.raises(LoadTestError, match="the service does not end")
    with told, served(Path("bundle"), {}, "")(tmp_path, False):
        wait_for(lambda: "here" in started.services[0].text(), SECONDS)
    assert started.services[0].process.returncode == -9


def test_one_that_has_ended_by_itself_is_no_failure_of_the_test(started: Started, tmp_path: Path) -> None:
    started.program = ("raise SystemExit(3)",)
    with served(Path("bundle"), {}, "")(tmp_path, False):
        started.services[0].process.wait(SECONDS)


def test_a_disk_that_will_be_filled_is_a_small_one_of_its_own(started: Started, tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk"):
            pass
    except LoadTestError as reason:
        pytest.skip(str(reason))
    with served(Path("bundle"), {"cache": "/elsewhere"}, "", [FILL])(tmp_path, True) as target:
        assert target.disk == tmp_path / "disk"
        assert target.disk.is_mount()
        assert started.settings == [{"cache": str(target.disk)}]
    assert not (tmp_path / "disk").is_mount()


@pytest.mark.parametrize(
    ("device", "rest"),
    [("127.0.0.1:8001", ""), ("LocalHost:8001/other?patience=3&timeout=9", "/other?patience=3&timeout=9")],
)
def test_a_triton_server_that_will_be_cut_off_is_behind_a_relay(
    started: Started, tmp_path: Path, device: str, rest: str
) -> None:
    told = {"backend": "triton", "device": device}
    with served(Path("bundle"), told, "", [CUT])(tmp_path, True) as target:
        assert target.relay is not None
        assert started.settings == [{"backend": "triton", "device": f"127.0.0.1:{target.relay.port}{rest}"}]
    assert told["device"] == device
    assert target.relay._closed.is_set()


def test_an_address_that_is_none_is_told_before_anything_is_started(started: Started, tmp_path: Path) -> None:
    told = {"backend": "triton", "device": "cuda"}
    with pytest.raises(BackendError, match="triton runs elsewhere"), served(Path("b"), told, "", [CUT])(tmp_path, True):
        pass
    assert started.services == []


def test_without_faults_nothing_stands_between(started: Started, tmp_path: Path) -> None:
    told = {"backend": "triton", "device": "127.0.0.1:8001", "cache": "/elsewhere"}
    with served(Path("bundle"), told, "", [Fault(kind="kill-worker", at=1)])(tmp_path, True):
        pass
    assert started.settings == [told]
