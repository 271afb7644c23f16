"""Several workers, and processes that die: what callers see, and that they come back."""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial

import httpx
import psutil
import pytest

from diffes.bundle import Bundle
from tests.service import Service, start
from tests.serving.waiting import wait_for

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def stalling(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that takes any step for one that hangs."""
    running = start(tmp_path_factory.mktemp("stalling"), tiny_bundle.folder, DIFFES_STALL_SECONDS="0.001")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def service(tiny_bundle: Bundle, stalling: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers, ready; the other server starts beside them."""
    assert stalling.process
    running = start(
        tmp_path_factory.mktemp("workers"), tiny_bundle.folder, DIFFES_WORKERS="2", DIFFES_DRAIN_SECONDS="1"
    )
    try:
        wait_until(lambda: starts(running) == {"1": 1, "2": 1})
        yield running
    finally:
        running.kill()


wait_until = partial(wait_for, seconds=90)


def id_told(parts: Iterator[str]) -> str:
    """A request's, by what its stream begins with; the stream ends when the caller lets go of its parts."""
    text = ""
    while not (found := re.search(r'"id":"(img-\d+-\w+)"', text)):
        text += next(parts)
    return found[1]


def worker_of(request_id: str) -> str:
    """The worker that was asked."""
    return request_id.split("-")[1]


def starts(service: Service) -> Counter[str]:
    """How often each worker has begun to serve."""
    return Counter(re.findall(r"diffes:(\d+)\] serving bundle", service.text()))


def processes(service: Service, module: str) -> list[psutil.Process]:
    """Those that run it."""

    def runs(process: psutil.Process) -> bool:
        try:
            return module in process.cmdline()
        except psutil.NoSuchProcess:  # it has ended, or is a zombie
            return False

    return [process for process in service.processes() if runs(process)]


def test_any_worker_cancels_a_request_of_any_other(service: Service) -> None:
    asked = {"label": 0, "n": 16, "steps": 1000}
    told: dict[str, int] = {}
    while len(told) < 2:
        with httpx.stream("POST", f"{service.url}/generate/stream", json=asked, timeout=60) as stream:
            parts = stream.iter_text()
            request_id = id_told(parts)
            worker = worker_of(request_id)
            if worker not in told:
                answer = httpx.delete(f"{service.url}/v1/requests/{request_id}", timeout=30)
                told[worker] = answer.status_code
                again = [httpx.delete(f"{service.url}/v1/requests/{request_id}").status_code for _ in range(6)]
                assert again == [404] * 6
    assert told == {"1": 200, "2": 200}


def test_whoever_is_asked_the_worker_with_less_to_do_serves(service: Service) -> None:
    def server(request_id: str) -> str:
        """The worker that has logged the end of a request."""
        ended = re.compile(rf"diffes:(\d)\] request {request_id} ")
        wait_until(lambda: ended.search(service.text()))
        return ended.search(service.text())[1]  # type: ignore[index]

    for _ in range(20):  # until both have been asked while one of them was busy all along
        asked = {"label": 0, "n": 16, "steps": 1000}
        with httpx.stream("POST", f"{service.url}/generate/stream", json=asked, timeout=60) as stream:
            parts = stream.iter_text()
            long = id_told(parts)
            short: set[str] = set()
            while len({worker_of(request_id) for request_id in short}) < 2:
                answer = httpx.post(f"{service.url}/generate", json={"label": 0, "steps": 2})
                short.add(answer.headers["x-request-id"])
            busy = httpx.delete(f"{service.url}/v1/requests/{long}").status_code == 200
        if busy:
            break
    assert busy
    assert {server(request_id) for request_id in short} == {"1", "2"} - {server(long)}


def test_metrics_of_all_workers_add_up(service: Service) -> None:
    def done() -> float:
        text = httpx.get(f"{service.url}/metrics").text
        (value,) = re.findall(r'^diffes_requests_total\{status="done"\} (.+)$', text, re.MULTILINE)
        return float(value)

    before, workers = done(), Counter[str]()

    def ask() -> bool:
        """Whether both have been asked, and often enough: the first may accept many connections in a row."""
        answer = httpx.post(f"{service.url}/generate", json={"label": 0, "steps": 1})
        workers[worker_of(answer.headers["x-request-id"])] += 1
        return workers.total() >= 20 and len(workers) == 2

    wait_until(ask)
    assert done() == before + workers.total()
    assert len(workers) == 2


@pytest.mark.parametrize("victim", ["_bentoml_impl.worker.service", "diffes.serving.engine_process"])
def test_what_is_killed_comes_back_and_no_caller_hangs(service: Service, victim: str) -> None:
    began = starts(service).total()
    ends: list[int | str] = []

    def ask() -> None:
        asked = {"label": 0, "n": 4, "steps": 200}
        try:
            ends.append(httpx.post(f"{service.url}/generate", json=asked, timeout=60).status_code)
        except httpx.TimeoutException:
            ends.append("hung")
        except httpx.TransportError:
            ends.append("closed")

    callers = [threading.Thread(target=ask) for _ in range(16)]
    for caller in callers:
        caller.start()
    wait_until(lambda: "diffes_images_running 0.0" not in httpx.get(f"{service.url}/metrics").text)
    victims = processes(service, victim)
    assert len(victims) == 2
    os.kill(victims[0].pid, signal.SIGKILL)
    for caller in callers:
        caller.join(timeout=90)
    assert len(ends) == 16
    lost = {503} if "engine" in victim else {503, "closed"}  # whose engine is gone hears so from its worker
    assert set(ends) <= {200, 429} | lost
    assert lost & set(ends)
    while starts(service).total() == began:
        asked = {"label": 0, "steps": 1}  # whichever worker accepts this, the one that is left serves it
        answer = httpx.post(f"{service.url}/generate", json=asked, timeout=60)
        assert answer.status_code == 200, answer.text
    assert starts(service).total() == began + 1
    left = processes(service, victim)
    assert len(left) == 2
    assert victims[0].pid not in {process.pid for process in left}


def test_an_engine_that_hangs_ends_itself_and_comes_back(stalling: Service) -> None:
    stalling.wait_until_ready()
    asked = {"label": 0, "n": 16, "steps": 1000}
    answer = httpx.post(f"{stalling.url}/generate", json=asked, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "closing")
    assert "this process ends: its engine hangs" in stalling.text()
    stalling.wait_until_ready()
    assert starts(stalling) == {"1": 2}


def test_all_workers_end_on_sigterm(service: Service) -> None:
    assert service.terminate() == 0
