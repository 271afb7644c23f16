import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest
from starlette.types import Message

from diffes.engine.request import Request
from diffes.serving.calls import Followed, answer_of
from tests.prompting import of_label
from tests.serving.conftest import Warm
from tests.serving.waiting import wait_for

Ask = Callable[[Warm], Coroutine[Any, Any, object]]


async def _silent() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def answered(idle: Warm) -> Coroutine[Any, Any, object]:
    http = HttpRequest({"type": "http", "method": "POST", "path": "/generate", "headers": []}, _silent)
    return answer_of(http, idle.engine, Request(prompt=of_label(0), seed=1))


def followed(idle: Warm) -> Coroutine[Any, Any, object]:
    return Followed.submitted(idle.engine, Request(prompt=of_label(0), seed=1))


@pytest.mark.parametrize("ask", [answered, followed])
def test_who_leaves_while_the_request_is_being_submitted_leaves_nothing_in_the_engine(
    idle: Warm, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    submit, entered, go_on = idle.engine.submit, threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        entered.set()
        go_on.wait(10)
        return submit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(idle.engine, "submit", slow)

    async def leave() -> None:
        asking = asyncio.ensure_future(ask(idle))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        go_on.set()
        await asyncio.to_thread(wait_for, lambda: idle.count("diffes_requests_total", status="cancelled") == 1)

    asyncio.run(leave())


def test_a_request_that_is_refused_after_its_client_left_is_no_error_of_anyone(
    idle: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on, complaints = threading.Event(), threading.Event(), list[object]()

    def refuse(*_: object) -> None:
        entered.set()
        go_on.wait(10)
        raise OverflowError("refused")

    monkeypatch.setattr(idle.engine, "submit", refuse)

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        asking = asyncio.ensure_future(followed(idle))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        asking.cancel()
        go_on.set()
        await asyncio.gather(asking, return_exceptions=True)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)

    asyncio.run(leave())
    assert complaints == []
