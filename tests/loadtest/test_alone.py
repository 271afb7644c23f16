"""What a request takes alone is each kind's median, by how often the kind comes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from diffes.errors import LoadTestError, NotReady
from loadtest.alone import measure_alone
from loadtest.mix import Mix
from loadtest.target import Target
from tests.loadtest.answers import answer, refuse
from tests.loadtest.server import Exchange, Script, Server, serving

Body = dict[str, Any]


class Machine:
    """A service at which a request takes as long as its body and number say, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Body, int], float]) -> None:
        self.now = 0.0
        self._asked = Counter[str]()
        self._seconds = seconds
        monkeypatch.setattr("loadtest.alone.perf_counter", lambda: self.now)

    async def serve(self, exchange: Exchange) -> None:
        kind = str(exchange.body)
        self.now += self._seconds(exchange.body, self._asked[kind])
        self._asked[kind] += 1
        await answer(exchange)


def measured(script: Script, mix: Mix = Mix(), key: str = "") -> tuple[float, Server]:  # noqa: B008
    with serving(script) as server:
        return measure_alone(Target(server.url, key), mix), server


MIX = Mix(schedules={"default": 1, "fast": 3}, steps={"default": 1, 10: 1}, images={1: 4, 2: 1}, guidance=2.5)


def of_kind(body: Body, _: int) -> float:
    """A second for each image, half of it where it is fast, a tenth of it for ten steps."""
    images: int = body.get("n", 1)
    return images * (0.5 if "schedule" in body else 1.0) * (0.1 if "steps" in body else 1.0)


def test_kinds_count_by_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, _ = measured(Machine(monkeypatch, of_kind).serve, MIX)
    images, schedules, steps = (4 * 1 + 1 * 2) / 5, (1 * 1 + 3 * 0.5) / 4, (1 + 0.1) / 2
    assert seconds == pytest.approx(images * schedules * steps)


def test_every_combination_is_asked_for_as_often_and_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = measured(Machine(monkeypatch, of_kind).serve, MIX, key="secret")
    asked = [(each.body.get("schedule"), each.body.get("steps"), each.body.get("n", 1)) for each in server.seen]
    kinds = {(schedule, steps, n) for schedule in (None, "fast") for steps in (None, 10) for n in (1, 2)}
    assert Counter(asked) == dict.fromkeys(kinds, 4)
    assert server.most == 1
    assert {each.body["guidance"] for each in server.seen} == {2.5}
    assert {(each.path, each.headers["authorization"]) for each in server.seen} == {("/generate", "Bearer secret")}


def test_neither_the_first_time_nor_a_neighbour_s_moment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [90.0, 2.0, 80.0, 1.0]
    assert measured(Machine(monkeypatch, lambda _, number: times[number]).serve)[0] == 2.0


def test_what_other_callers_do_is_not_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix(stream=1, previews=2, leave=1, leave_after=(0.0, 0.0), timeout=0.001)
    _, server = measured(Machine(monkeypatch, of_kind).serve, mix)
    assert [each.body for each in server.seen] == [{"label": 0, "seed": 0, "response": "json"}] * 4


def test_a_refusal_is_an_error_that_tells_it() -> None:
    async def third(exchange: Exchange) -> None:
        await answer(exchange) if len(server.seen) < 3 else refuse(exchange, NotReady("not yet"))

    expected = r"a request alone was not answered: expected 200, found 503 .*not yet"
    with serving(third) as server, pytest.raises(LoadTestError, match=expected):
        measure_alone(Target(server.url), Mix())


def test_a_connection_that_is_lost_is_an_error() -> None:
    async def lost(exchange: Exchange) -> None:
        exchange.close()

    with pytest.raises(LoadTestError, match="a request alone was not answered: expected 200, found RemoteProtocol"):
        measured(lost)


def test_nobody_who_listens_is_an_error() -> None:
    with serving(answer) as server:
        target = Target(server.url)
    with pytest.raises(LoadTestError, match="a request alone was not answered: expected 200, found ConnectError"):
        measure_alone(target, Mix())


def test_it_is_time_that_passes() -> None:
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await answer(exchange)

    assert 0.05 <= measured(slowly)[0] < 5
