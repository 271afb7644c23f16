"""Connections that are lost, callers who leave, patience that ends, and as many requests at once as it takes."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import gevent
import pytest

from diffes.serving import sse
from loadtest.mix import Asked
from tests.loadtest.answers import ACCEPTED, PROGRESS, after, answer, digest, document, never, picture
from tests.loadtest.callers import PLAIN, STREAM, asking, ended, one
from tests.loadtest.server import Exchange, serving
from tests.serving.waiting import wait_for

both = pytest.mark.parametrize("asked", [PLAIN, STREAM], ids=["plain", "stream"])


def cut_short(exchange: Exchange) -> None:
    exchange.head(200, Content_Length=1000)
    exchange.write(b'{"id":')
    exchange.close()


def stream_cut_short(exchange: Exchange) -> None:
    exchange.stream(ACCEPTED, PROGRESS, whole=False)
    exchange.close()


@pytest.mark.parametrize(
    ("step", "asked"),
    [(Exchange.close, PLAIN), (Exchange.close, STREAM), (cut_short, PLAIN), (stream_cut_short, STREAM)],
    ids=["before a plain answer", "before a stream", "within an answer", "within a stream"],
)
def test_a_connection_that_is_lost_is_a_failure(step: Callable[[Exchange], None], asked: Asked) -> None:
    row = ended(after(step), asked)
    assert (row.fate, row.status, row.digests) == ("failed", 0, ())
    assert row.reason.startswith("connection lost")


def test_a_connection_that_is_reset_is_a_failure() -> None:
    row = ended(after(lambda exchange: exchange.transport.abort()))
    assert (row.fate, row.reason[:15]) == ("failed", "connection lost")


@both
def test_patience_ends(asked: Asked) -> None:
    row = ended(never, asked, patience=0.5)
    assert (row.fate, row.reason) == ("failed", "no answer within 0.5 s")
    assert row.ended - row.sent >= 0.5


def test_patience_ends_within_a_stream() -> None:
    row = ended(after(lambda exchange: exchange.stream(ACCEPTED, whole=False)), STREAM, patience=0.5)
    assert (row.fate, row.reason) == ("failed", "no answer within 0.5 s")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with asking(f"http://127.0.0.1:{port}") as asker:
        row = one(asker)
    assert (row.fate, row.status, row.reason) == ("failed", 0, "could not connect: nobody listens")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_who_leaves_hangs_up_and_others_are_answered(stream: bool) -> None:
    async def script(exchange: Exchange) -> None:
        await (never if exchange.body["seed"] == 1 else answer)(exchange)

    with serving(script) as server, asking(server.url) as asker:
        row = one(asker, Asked(label=0, seed=1, stream=stream, leaves=0.5))
        assert (row.fate, row.reason, row.status, row.digests) == ("left", "", 0, ())
        assert row.ended - row.sent >= 0.5
        wait_for(lambda: server.left == 1)
        assert one(asker, Asked(label=0, seed=2, stream=stream, leaves=10.0)).fate == "answered"


def test_a_caller_who_is_answered_before_he_would_leave_has_his_answer() -> None:
    assert ended(answer, Asked(label=0, seed=1, leaves=10.0)).fate == "answered"


def test_a_caller_who_leaves_at_once_is_a_row_too() -> None:
    assert ended(never, Asked(label=0, seed=1, leaves=0.0)).fate == "left"


@both
def test_a_request_names_itself_and_who_asks_under_the_path_of_the_url(asked: Asked) -> None:
    with serving(answer) as server, asking(f"{server.url}/models/a/", key="secret") as asker:
        assert one(asker, asked).fate == "answered"
    (seen,) = server.seen
    assert seen.path == ("/models/a/generate/stream" if asked.stream else "/models/a/generate")
    assert seen.headers["authorization"] == "Bearer secret"
    assert seen.headers["x-client-request-id"] == "run-7"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == asked.body()


def test_without_a_key_none_is_sent() -> None:
    with serving(answer) as server, asking(server.url) as asker:
        one(asker)
    assert "authorization" not in server.seen[0].headers


def test_different_images_are_kept_once_each(tmp_path: Path) -> None:
    with serving(answer) as server, asking(server.url, images=tmp_path) as asker:
        rows = [one(asker, Asked(label=0, seed=seed)) for seed in (1, 2, 1)]
    assert [row.digests for row in rows] == [(digest(1),), (digest(2),), (digest(1),)]
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept == {f"{digest(seed)}.png": picture(seed) for seed in (1, 2)}


@both
def test_who_asks_one_after_the_other_uses_one_connection(asked: Asked) -> None:
    with serving(answer) as server, asking(server.url) as asker:
        assert [one(asker, asked).fate for _ in range(5)] == ["answered"] * 5
    assert len(server.connections) == 1


def test_a_connection_that_the_service_has_closed_meanwhile_is_not_used_again() -> None:
    async def once(exchange: Exchange) -> None:
        await answer(exchange)
        exchange.close()

    with serving(once) as server, asking(server.url) as asker:
        assert one(asker).fate == "answered"
        wait_for(lambda: server.connections[0].is_closing())
        gevent.sleep(0.1)  # until it is closed on this side, too
        assert one(asker).fate == "answered"
    assert len(server.connections) == 2


def test_a_large_image_in_a_stream_costs_its_caller_about_as_much_as_in_a_plain_answer() -> None:
    image = b64encode(picture(0) + bytes(3_000_000)).decode()

    def large(exchange: Exchange) -> None:
        told = document(exchange.body, images=[image])
        if exchange.path.endswith("/stream"):
            exchange.stream(sse.event("result", told))
        else:
            exchange.answer(json.dumps(told).encode())

    def spent(asked: Asked) -> float:
        began = thread_time()
        assert one(asker, asked).fate == "answered"
        return thread_time() - began

    with serving(after(large)) as server, asking(server.url) as asker:
        plain, stream = (min(spent(asked) for _ in range(3)) for asked in (PLAIN, STREAM))
    assert stream < 10 * plain


def test_hundreds_of_requests_are_inside_at_once() -> None:
    count, all_here = 300, asyncio.Event()

    async def together(exchange: Exchange) -> None:
        if server.inside == count:
            all_here.set()
        await all_here.wait()
        await answer(exchange)

    with serving(together) as server, asking(server.url, patience=60) as asker:
        asks = [gevent.spawn(one, asker, Asked(label=0, seed=seed, stream=bool(seed % 2))) for seed in range(count)]
        gevent.joinall(asks, raise_error=True)
    assert [ask.value.fate for ask in asks] == ["answered"] * count
    assert server.most == count
