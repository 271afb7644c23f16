"""Locust as it is started for a run: every planned request is sent once and told of once, or the run is no run."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any

import psutil
import pytest

from diffes.errors import EngineError, LoadTestError, Overloaded
from loadtest.arrivals import Closed, Constant, Poisson
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.rows import Row
from loadtest.run import IMAGES, KEY_VARIABLE, Run, sending
from tests.loadtest.answers import answer, never, refuse
from tests.loadtest.server import Exchange, Server, serving
from tests.serving.waiting import wait_for

START_SECONDS = 60  # of locust, on a machine that does other things
MIX = Mix(
    stream=0.3, previews=1, leave=0.1, leave_after=(0.0, 0.02), schedules={"default": 1, "fast": 1}, images={1: 2, 2: 1}
)
FULL = Overloaded("full", reason="queue_full", expected="room", found="none")


def plan(**other: Any) -> Plan:
    whole = Plan(id="run", seed=1, arrivals=Poisson(rate=150), seconds=2, mix=MIX, labels=10, patience=20)
    return whole.model_copy(update=other)


async def by_label(exchange: Exchange) -> None:
    """Refused, failed, lost, or answered."""
    match exchange.body["label"]:
        case 0:
            refuse(exchange, FULL)
        case 1:
            refuse(exchange, EngineError("no memory"))
        case 2:
            exchange.close()
        case _:
            await answer(exchange)


@dataclass
class Done:
    """A run that came to its end, and what the server saw of it."""

    run: Run
    server: Server
    rows: list[Row]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("test") / "run"
    with serving(by_label) as server, sending(plan(), f"{server.url}/here/", folder, key="secret") as run:
        run.require_whole()
        yield Done(run, server, sorted(run.rows(), key=lambda row: row.number))


def test_every_planned_request_has_exactly_one_row_that_says_what_was_planned(done: Done) -> None:
    planned = list(plan().calls())
    assert [row.number for row in done.rows] == [call.number for call in planned]
    for row, call in zip(done.rows, planned, strict=True):
        asked = call.asked
        assert (row.due, row.label, row.seed, row.images) == (call.at, asked.label, asked.seed, asked.images)
        assert (row.schedule, row.steps, row.stream) == (asked.schedule, asked.steps, asked.stream)


def test_none_is_sent_before_it_is_due_nor_ends_before_it_is_sent(done: Done) -> None:
    assert all(row.due <= row.sent < row.ended for row in done.rows)


def test_every_fate_is_told(done: Done) -> None:
    told = {row.fate: {other.label for other in done.rows if other.fate == row.fate} for row in done.rows}
    assert (told["refused"], told["failed"]) == ({0}, {1, 2})
    assert told["answered"] == set(range(3, 10))
    leaving = {call.number for call in plan().calls() if call.asked.leaves is not None}
    assert {row.number for row in done.rows if row.fate == "left"} <= leaving


def test_the_server_has_seen_every_request_once_by_its_name(done: Done) -> None:
    names = [seen.headers["x-client-request-id"] for seen in done.server.seen]
    stayed = {done.run.plan.name(row.number) for row in done.rows if row.fate != "left"}
    assert len(names) == len(set(names))
    assert stayed <= set(names) <= {done.run.plan.name(row.number) for row in done.rows}


def test_the_key_and_the_path_of_the_address_arrive(done: Done) -> None:
    assert {seen.headers["authorization"] for seen in done.server.seen} == {"Bearer secret"}
    assert {seen.path for seen in done.server.seen} == {"/here/generate", "/here/generate/stream"}
    assert "secret" not in " ".join(map(str, done.run.process.args))  # type: ignore[arg-type]


def test_different_images_are_kept_beside_the_run(done: Done) -> None:
    kept = {path.stem for path in (done.run.folder.parent / IMAGES).iterdir()}
    assert kept == {digest for row in done.rows for digest in row.digests}


def test_failed_requests_do_not_make_a_run_fail(done: Done) -> None:
    assert done.run.over
    assert done.run.process.returncode == 1
    assert done.run.began is not None
    assert time() - 600 < done.run.began < time()


def test_nobody_waits_for_those_before(tmp_path: Path) -> None:
    count, all_here = 100, asyncio.Event()

    async def together(exchange: Exchange) -> None:
        if server.inside == count:
            all_here.set()
        await all_here.wait()
        await answer(exchange)

    even = plan(arrivals=Constant(rate=100), seconds=1, mix=Mix(), patience=60)
    with serving(together) as server, sending(even, server.url, tmp_path / "run") as run:
        run.process.wait(START_SECONDS)
    assert [row.fate for row in run.rows()] == ["answered"] * count
    assert run.process.returncode == 0


def test_in_a_closed_loop_no_more_are_inside_than_there_are_users(tmp_path: Path) -> None:
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        await answer(exchange)

    closed = plan(arrivals=Closed(users=3, pause=0.01), seconds=1.5, mix=Mix())
    with serving(slowly) as server, sending(closed, server.url, tmp_path / "run") as run:
        run.require_whole()
    rows = sorted(run.rows(), key=lambda row: row.number)
    assert server.most == 3
    assert [row.number for row in rows] == list(range(len(server.seen)))
    assert all(row.due <= row.sent < row.due + 0.5 and row.due < 1.5 for row in rows)


def test_nobody_who_listens_is_told_in_every_row(tmp_path: Path) -> None:
    with serving(never) as server:
        url = server.url
    with sending(plan(requests=20), url, tmp_path / "run") as run:
        run.require_whole()
    assert {(row.fate, row.reason) for row in run.rows() if row.fate != "left"} == {
        ("failed", "could not connect: nobody listens")
    }
    assert len(run.rows()) == 20


def test_a_run_that_is_left_half_way_ends_its_process_and_its_requests(tmp_path: Path) -> None:
    async def some(exchange: Exchange) -> None:
        await (answer if len(server.seen) <= 5 else never)(exchange)

    endless = plan(seconds=3600, mix=Mix())
    with serving(some) as server:
        with sending(endless, server.url, tmp_path / "run") as run:
            assert run.began is None
            wait_for(lambda: len(run.rows()) >= 5 and server.inside >= 5, START_SECONDS)
            assert not run.over
            left = perf_counter()
        assert run.over
        assert not psutil.pid_exists(run.process.pid)
        assert perf_counter() - left < 20
        wait_for(lambda: server.inside == 0)
    assert len(run.rows()) == 5
    with pytest.raises(LoadTestError, match="locust did not send the requests"):
        run.require_whole()


def test_a_run_that_is_left_at_once_ends_its_process(tmp_path: Path) -> None:
    with sending(plan(), "http://127.0.0.1:9", tmp_path / "run") as run:
        assert not run.over
    assert run.over
    assert (run.began, run.rows()) == (None, [])


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_run_that_is_ended_by_others_is_not_whole(tmp_path: Path, how: str) -> None:
    with serving(answer) as server, sending(plan(seconds=3600), server.url, tmp_path / "run") as run:
        wait_for(run.rows, START_SECONDS)
        getattr(run.process, how)()
        with pytest.raises(LoadTestError, match="locust did not send the requests: expected that it ends by itself"):
            run.require_whole()


def test_a_plan_that_cannot_be_read_is_told_with_the_end_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "save", lambda _, path: path.write_text('{"id": "run"}'))
    told = pytest.raises(LoadTestError, match=r"(?s)found code 3:.*validation errors for Plan")
    with sending(plan(), "http://127.0.0.1:9", tmp_path / "run") as run, told:
        run.process.wait(START_SECONDS)
        run.require_whole()
    assert run.began is None


def test_what_an_earlier_run_left_is_not_taken_for_this_one_s(tmp_path: Path, done: Done) -> None:
    for path in done.run.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with sending(plan(), "http://127.0.0.1:9", tmp_path) as run:
        assert (run.began, run.rows()) == (None, [])


def test_settings_of_locust_s_own_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_RUN_TIME", "1s")
    monkeypatch.setenv(KEY_VARIABLE, "another")
    with serving(answer) as server, sending(plan(mix=Mix(), seconds=3), server.url, tmp_path / "run") as run:
        run.require_whole()
    assert len(run.rows()) == len(list(run.plan.calls()))
    assert "authorization" not in server.seen[0].headers
    assert os.environ[KEY_VARIABLE] == "another"
