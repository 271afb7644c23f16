"""From a handler to the engine and back: submitted on a thread, watched until it is done or its client has left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from diffes.engine.request import Listener, Preview, Progress, Request, Result
from diffes.errors import Cancelled

MAX_BODY = 64 * 1024
_POLL_SECONDS = 0.1  # how soon a client that left is noticed
_KEEPALIVE_SECONDS = 15.0  # proxies end connections on which nothing comes


class Submits(Protocol):
    """What handlers give requests to: an engine, or all engines of several workers as one."""

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """As Engine.submit."""

    def cancel(self, request_id: str) -> bool:
        """As Engine.cancel."""


async def read_body(request: HttpRequest) -> bytes:
    """The body, refused before it is held: 413 above MAX_BODY, 415 for what says it is no JSON."""
    _require_json(request.headers)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and _size_of(declared) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _size_of(declared: str) -> int:
    return int(declared[:20])  # digits enough to tell; int() refuses thousands of them


def _too_large() -> HTTPException:
    return HTTPException(413, f"invalid body: expected at most {MAX_BODY} bytes, found more")


def _require_json(headers: Headers) -> None:
    """What is not said is taken to be JSON, and so is a form's type, which `curl -d` sends by itself."""
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    charset = next((value for value in parameters if value.startswith("charset=")), "charset=utf-8")
    packed = headers.get("content-encoding", "identity").lower()
    known = kind in ("", "application/json", "application/x-www-form-urlencoded") or kind.endswith("+json")
    if not known or charset.replace('"', "") != "charset=utf-8" or packed != "identity":
        found = f"{kind or 'no type'}; {charset}, encoding {packed}"
        raise HTTPException(415, f"invalid content type: expected application/json in UTF-8, found {found[:200]}")


async def answer_of(request: HttpRequest, engine: Submits, asked: Request) -> Result | None:
    """The result, or None if the client left first; then, and on cancellation, the engine drops the request."""
    waiter = asyncio.wrap_future(await _submitted(engine, asked))
    try:
        while not (await asyncio.wait({waiter}, timeout=_POLL_SECONDS))[0]:
            if await request.is_disconnected():
                return None
        if waiter.cancelled():  # by its id; this handler itself goes on
            raise cancelled()
        return waiter.result()
    finally:
        waiter.cancel()


async def _submitted(engine: Submits, asked: Request, listener: Listener | None = None) -> Future[Result]:
    """Submitted on a thread. Threads cannot be cancelled: who leaves meanwhile has his request taken back after it."""
    submitting = asyncio.ensure_future(run_in_threadpool(engine.submit, asked, listener))
    try:
        return await asyncio.shield(submitting)
    except asyncio.CancelledError:
        submitting.add_done_callback(_take_back)
        raise


def _take_back(submitting: asyncio.Future[Future[Result]]) -> None:
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()


def cancelled() -> Cancelled:
    """What is answered to whose request was taken back by another."""
    return Cancelled("the request was cancelled", remedy="Send it again, if it was not meant to be.")


@dataclass
class Followed:
    """A request whose steps are heard of as they are taken. `at_first` is called when the first of it is shown."""

    future: Future[Result] = field(init=False)
    at_first: Callable[[], None] | None = None
    _heard: asyncio.Queue[Progress | Preview | None] = field(default_factory=asyncio.Queue)

    @classmethod
    async def submitted(cls, engine: Submits, asked: Request) -> "Followed":
        """Raises what `Engine.submit` does."""
        loop, followed = asyncio.get_running_loop(), cls()

        def tell(event: Progress | Preview | None) -> None:
            loop.call_soon_threadsafe(followed._heard.put_nowait, event)

        followed.future = await _submitted(engine, asked, tell)
        followed.future.add_done_callback(lambda _: tell(None))
        return followed

    def shows(self) -> None:
        """Something that was made of the images goes to their caller."""
        if self.at_first is not None:
            self.at_first()
            self.at_first = None

    async def events(self) -> AsyncIterator[Progress | Preview | None]:
        """What is heard until the request is done; None now and then while nothing is."""
        while True:
            try:
                event = await asyncio.wait_for(self._heard.get(), _KEEPALIVE_SECONDS)
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event


class FollowedResponse(StreamingResponse):
    """A stream that ends the request it tells of when its client leaves, even before the first byte."""

    def __init__(self, content: AsyncIterator[bytes], followed: Followed, **options: Any) -> None:
        super().__init__(content, media_type="text/event-stream", **options)
        self.followed = followed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; whatever ends the sending ends the request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.followed.future.cancel()
