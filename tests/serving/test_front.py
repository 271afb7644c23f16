"""A worker and its engine, which is a real process of its own."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry

from diffes.bundle import Bundle
from diffes.engine.request import Request, Result
from diffes.errors import BundleError, Lost, NotReady
from diffes.serving.front import Front
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.settings import Settings
from diffes.serving.workers.place import Place
from tests.prompting import of_label
from tests.serving.waiting import wait_for

Make = Callable[..., Front]

LONG = Request(prompt=of_label(0), seed=0, images=16, steps=1000, id="img-1-long")

wait_long = partial(wait_for, seconds=60)

_WORKER = """
import sys
from pathlib import Path
from diffes.serving.front import Front
from diffes.serving.front_metrics import FrontMetrics
from diffes.serving.settings import Settings
from diffes.serving.workers.place import Place
from tests.prompting import of_label

front = Front(Settings.from_environment(), FrontMetrics(), Place(Path(sys.argv[1]), 1, 1))
front.start()
print(front._keeper._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def registries() -> list[CollectorRegistry]:
    """One of every worker that is made."""
    return []


@pytest.fixture
def make(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries: list[CollectorRegistry]
) -> Iterator[Make]:
    """A worker alone, with these settings in the environment that its engine reads."""
    made: list[Front] = []

    def make(**settings: object) -> Front:
        told = {"bundle": tiny_bundle.folder, "threads": 1, "max_batch": 2, "drain_seconds": 20} | settings
        for name, value in told.items():
            monkeypatch.setenv(f"DIFFES_{name.upper()}", str(value))
        place = Place(tmp_path / "place", 1, 1)
        registries.append(CollectorRegistry())
        made.append(Front(Settings.from_environment(), FrontMetrics(registries[-1]), place))
        return made[-1]

    yield make
    for front in made:
        if process := front._keeper._process:
            front._keeper._closing = True
            process.kill()
            front._keeper._thread.join()


def process_of(front: Front) -> psutil.Process:
    """The engine's."""
    assert front._keeper._process is not None
    return psutil.Process(front._keeper._process.pid)


def wait_for_another(front: Front, than: psutil.Process) -> None:
    """Until an engine of another process is ready: for a moment an ended one seems to be."""
    wait_long(lambda: front._keeper._process and front._keeper._process.pid != than.pid)
    wait_long(front.feel)


def generate(front: Front) -> Result:
    return front.served().engine.submit(Request(prompt=of_label(1), seed=1, steps=2)).result(timeout=30)


def test_it_serves_once_its_engine_is_warm_and_answers_what_is_inside_before_both_end(
    make: Make, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    front = make()
    front.start()
    assert gc.get_freeze_count() > len(gc.get_objects(generation=2))  # no collection stops it for long
    assert front.alive
    assert not front.feel()
    with pytest.raises(NotReady, match="found a service that is warming up"):
        front.served()
    wait_long(front.feel)
    result = generate(front)
    assert result.images.shape == (1, 3, *tiny_bundle.image_size)
    assert result.images.flatten().std() > 0

    inside = front.served().engine.submit(Request(prompt=of_label(0), seed=0, images=4))
    engine = process_of(front)
    front.close()
    assert inside.result(timeout=0).images.shape[0] == 4
    assert not engine.is_running()
    assert not (tmp_path / "place").exists()
    assert not front.feel()
    with pytest.raises(NotReady, match="found a service that is shutting down"):
        front.served()
    assert gc.get_freeze_count() == 0
    front.close()  # as BentoML asks after us


def test_when_its_engine_is_killed_callers_hear_at_once_and_another_is_started(
    make: Make, registries: list[CollectorRegistry]
) -> None:
    front = make()
    front.start()
    wait_long(front.feel)
    inside = front.served().engine.submit(LONG)
    first = process_of(front)
    first.kill()
    with pytest.raises(Lost, match="engine 1 ended before the request was done.* Send it again"):
        inside.result(timeout=10)
    with pytest.raises(NotReady):
        generate(front)
    assert front.alive
    assert front.beyond_help() is None
    wait_for_another(front, first)
    assert generate(front)
    long = front.served().engine.submit(LONG)
    assert front.served().engine.cancel(LONG.id)
    with pytest.raises(CancelledError):
        long.result(timeout=10)
    assert not front.served().engine.cancel(LONG.id)
    assert registries[0].get_sample_value("diffes_lost_total") == 1
    assert registries[0].get_sample_value("diffes_engine_starts_total") == 2


def test_an_engine_that_hangs_ends_itself_and_another_is_started(make: Make) -> None:
    front = make(stall_seconds=0.001)  # any step is taken for one that hangs
    front.start()
    wait_long(front.feel)
    first = process_of(front)
    with pytest.raises(Lost):
        front.served().engine.submit(LONG).result(timeout=30)
    wait_for_another(front, first)


def test_an_engine_that_cannot_start_is_beyond_help(make: Make, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="manifest.json"):
        make(bundle=tmp_path)
    front = make(bundle=tiny_bundle.folder, device="cuda:99")
    front.start()
    wait_long(front.beyond_help)
    assert not front.alive
    with pytest.raises(NotReady, match=r"found a failure: engine process \d+ ended with code 1 before it served"):
        front.served()


def test_a_worker_that_ends_while_its_engine_warms_up_does_not_wait_for_it(make: Make) -> None:
    front = make()
    front.start()
    engine = process_of(front)
    front.close()
    assert not engine.is_running()
    assert front.alive


def test_what_is_sent_to_all_processes_does_not_end_an_engine_before_its_worker_says_so(make: Make) -> None:
    front = make()
    front.start()
    wait_long(front.feel)
    for sent in (signal.SIGTERM, signal.SIGINT):
        process_of(front).send_signal(sent)
    assert generate(front)


def test_an_engine_whose_worker_is_killed_ends(make: Make, tmp_path: Path) -> None:
    assert make()  # which sets the environment
    command = [sys.executable, "-c", _WORKER, str(tmp_path / "other")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        engine = psutil.Process(int(worker.stdout.readline()))
        os.kill(worker.pid, signal.SIGKILL)
        wait_long(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)
