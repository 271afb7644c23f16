"""What is looked at now and then is kept as it was seen, by whom it was told."""

import threading
from dataclasses import replace
from pathlib import Path
from time import time

import pytest

from loadtest.target import Target
from loadtest.watch import Sample, load_samples, look, watching
from tests.loadtest.server import serving
from tests.loadtest.telling import metrics, telling
from tests.serving.waiting import wait_for

PAGE = metrics(queue_depth=3, images_running=5, backlog_seconds=1.5, resident_bytes=700)


def seen(page: object, **other: object) -> Sample:
    """A look at a server with this page of metrics."""
    with serving(telling({"/metrics": page})) as server:
        return look(replace(Target(server.url), **other))  # type: ignore[arg-type]


def test_a_look_at_a_real_service_sees_all_of_it(target: Target) -> None:
    before = time()
    found = look(target)
    assert before <= found.at <= time()
    assert (found.waiting, found.running, found.backlog) == (0, 0, 0)
    assert found.resident is not None
    assert found.resident > 100 << 20
    assert (found.device is None) == (target.device_bytes() is None)


def test_what_a_service_tells_is_seen() -> None:
    found = seen(PAGE)
    assert (found.waiting, found.running, found.backlog, found.resident, found.device) == (3, 5, 1.5, 700, None)


def test_memory_is_looked_at_where_the_service_is_ours(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.target.used_bytes", lambda: 350)
    found = seen(PAGE, service=target.service, device_before=50)
    assert found.resident != 700
    assert found.device == 300
    silent = seen(404, service=target.service)
    assert (silent.waiting, silent.running, silent.backlog) == (None, None, None)
    assert silent.resident is not None


def test_who_has_no_metrics_or_does_not_answer_told_nothing() -> None:
    with serving(telling({})) as server:
        url = server.url
    for found in (seen(404), look(Target(url))):
        assert found == Sample(found.at)


def test_each_look_is_a_line_at_once_and_the_last_is_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.watch.LEAST_SECONDS", 0.1)
    path, began = tmp_path / "samples.jsonl", time()
    with serving(telling({"/metrics": PAGE})) as server:
        threads = set(threading.enumerate())
        with watching(Target(server.url), 1, path):
            wait_for(lambda: len(load_samples(path)) >= 3, 5)
        assert set(threading.enumerate()) <= threads
        ended = time()
    found = load_samples(path)
    assert all((each.waiting, each.running, each.resident) == (3, 5, 700) for each in found)
    at = [each.at for each in found]
    assert at == sorted(at)
    assert began <= at[0] <= at[-1] <= ended


def test_who_is_watched_for_long_is_looked_at_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("loadtest.watch._look_every", lambda seconds, *_: waits.append(seconds))
    for seconds in (0.5, 600, 1800):
        with watching(Target("http://127.0.0.1:1"), seconds, tmp_path / "samples.jsonl"):
            pass
    assert waits == [1, 1, 3]


def test_an_error_meanwhile_ends_the_watch(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(KeyError), watching(Target("http://127.0.0.1:1"), 1, tmp_path / "samples.jsonl"):
        raise KeyError
    assert set(threading.enumerate()) <= threads
    assert len(load_samples(tmp_path / "samples.jsonl")) == 1


def test_samples_of_an_earlier_watch_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("old\n")
    with watching(Target("http://127.0.0.1:1"), 1, path):
        pass
    assert len(load_samples(path)) == 1
