"""BentoML keeps a timer, and with it the request, long after it was answered: ours lets go of both."""

import asyncio
import importlib
from collections.abc import Iterator
from typing import Any

import bentoml
import httpx
import pytest
from bentoml._internal.server.http import traffic
from starlette.types import ASGIApp, Receive, Scope, Send

from diffes.serving.untimed import leave_requests_untimed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in what BentoML imports


async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


def made() -> ASGIApp:
    """A service of the BentoML that is installed, as it serves it."""

    @bentoml.service(name="answers", traffic={"timeout": 3600}, metrics={"enabled": False})
    @bentoml.asgi_app(answer, path="/")
    class Answers:
        pass

    service: Any = Answers
    app: ASGIApp = service.to_asgi()
    return app


async def timers_after(app: ASGIApp, requests: int) -> int:
    loop: Any = asyncio.get_running_loop()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        for _ in range(requests):
            assert (await http.get("/")).text == "here"
    return sum(not handle.cancelled() for handle in loop._scheduled)


@pytest.fixture
def untouched() -> Iterator[None]:
    """BentoML's module as it was installed, whatever was done to it before."""
    found = traffic.TimeoutMiddleware
    importlib.reload(traffic)
    yield
    traffic.TimeoutMiddleware = found


@pytest.mark.usefixtures("untouched")
def test_a_request_that_was_answered_leaves_no_timer() -> None:
    leave_requests_untimed()
    assert asyncio.run(timers_after(made(), 5)) == 0


@pytest.mark.usefixtures("untouched")
def test_bentoml_by_itself_leaves_one() -> None:
    """Once it does not, untimed.py may go."""
    assert asyncio.run(timers_after(made(), 5)) == 5
