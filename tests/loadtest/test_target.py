"""A target tells what it is and how much is inside it, and what is none says so."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from diffes.errors import LoadTestError
from loadtest.service import Service
from loadtest.target import Target
from tests.conftest import LABELS
from tests.loadtest.server import serving
from tests.loadtest.telling import INFO, metrics, telling
from tests.serving.waiting import wait_for

MEBI = 1 << 20


@contextmanager
def at(**pages: Any) -> Iterator[Target]:
    """A server with these pages, `info` and `metrics`."""
    where = {{"info": "/v1/info", "metrics": "/metrics"}[name]: page for name, page in pages.items()}
    with serving(telling(where)) as server:
        yield Target(server.url)


def gone() -> Target:
    """Where nobody listens any more."""
    with at() as target:
        return target


def test_a_service_tells_what_it_serves(target: Target) -> None:
    told = target.info()
    assert tuple(told["labels"]) == LABELS
    assert set(told["schedules"]) == {"mixed", "dense"}
    assert told["default"] == "mixed"


def test_who_has_not_the_key_is_told_of_it(target: Target) -> None:
    with pytest.raises(LoadTestError, match=rf"{target.url} is no Diffes service: .*401"):
        Target(target.url, "another").info()


NONE: dict[str, Any] = {
    "not found": 404,
    "an error": 500,
    "another page": b"<html></html>",
    "no text": b"\xff",
    "null": b"null",
    "a list": [1],
    "nothing": {},
    "no labels": INFO | {"labels": []},
    "no schedules": {"labels": ["cat"], "default": "dense"},
    "another default": INFO | {"default": "other"},
    "strange schedules": INFO | {"schedules": 3},
}


@pytest.mark.parametrize("page", NONE.values(), ids=NONE)
def test_what_is_no_service_of_ours_is_named(page: object) -> None:
    with at(info=page) as other, pytest.raises(LoadTestError) as error:
        other.info()
    assert str(error.value).startswith(f"{other.url} is no Diffes service: expected GET /v1/info, found ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nowhere", "http://[", "http://a b", ""])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(LoadTestError) as error:
        Target(url).info()
    assert str(error.value).startswith(f"{url} is no Diffes service")


def test_the_key_comes_with_every_question() -> None:
    pages = telling({"/v1/info": INFO, "/metrics": metrics()})
    with serving(pages) as server:
        for key in ("secret", ""):
            asks = Target(server.url, key)
            asks.info()
            asks.metrics()
            asks.is_idle()
    told = [exchange.headers.get("authorization") for exchange in server.seen]
    assert told == ["Bearer secret"] * 3 + [None] * 3
    assert Target("", "secret").headers == {"Authorization": "Bearer secret"}


@pytest.mark.parametrize("page", [404, 503, "python_info 1\n"], ids=["none", "not now", "another's"])
def test_what_has_no_metrics_of_ours_tells_nothing(page: object) -> None:
    with at(metrics=page) as other:
        assert other.metrics() is None
        assert other.is_idle() is None


def test_nobody_who_listens_tells_nothing() -> None:
    assert gone().metrics() is None
    assert gone().is_idle() is None


@pytest.mark.parametrize(("waiting", "running", "idle"), [(0, 0, True), (1, 0, False), (0, 1, False), (3, 2, False)])
def test_idle_is_who_has_nobody_waiting_or_running(waiting: int, running: int, idle: bool) -> None:
    with at(metrics=metrics(queue_depth=waiting, images_running=running)) as other:
        assert other.is_idle() == idle


def test_a_service_is_idle_but_while_a_request_is_inside(target: Target) -> None:
    wait_for(target.is_idle)
    asked = {"label": 0, "n": 16, "steps": 1000}
    where = f"{target.url}/generate/stream"
    with httpx.stream("POST", where, json=asked, headers=target.headers, timeout=60):
        wait_for(lambda: target.is_idle() is False)
    wait_for(target.is_idle)


TREE = """
import subprocess, sys, time
for program in sys.argv[1:]:
    subprocess.Popen([sys.executable, "-c", program])
taken = bytearray(b"x") * (64 << 20)
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Target]:
    """A process and its child that have taken 64 MiB each."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", TREE, TREE], stdout=file)
    service = Service(process, "http://127.0.0.1:1", log)
    wait_for(lambda: service.text().count("taken") == 2, 60)
    yield Target(service.url, service=service)
    service.kill()


def test_memory_is_that_of_the_process_and_all_it_has_started(tree: Target) -> None:
    taken = tree.resident_bytes()
    assert taken is not None
    assert 128 * MEBI < taken < 256 * MEBI
    assert tree.service is not None
    tree.service.kill()
    assert tree.resident_bytes() == 0


def test_of_a_service_that_is_not_ours_no_memory_is_known() -> None:
    assert Target("http://127.0.0.1:1").resident_bytes() is None


def test_a_gpu_s_memory_counts_from_before_the_start(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Target(target.url, service=target.service, device_before=100)
    monkeypatch.setattr("loadtest.target.used_bytes", lambda: 350)
    assert ours.device_bytes() == 250
    assert Target(target.url).device_bytes() is None
    monkeypatch.setattr("loadtest.target.used_bytes", lambda: None)
    assert ours.device_bytes() is None
