"""Who asked: ids and trace headers that a call came with, and the id that log lines of its task are told by."""

import re
from contextvars import ContextVar
from dataclasses import replace

from starlette.requests import Request as HttpRequest

from diffes.engine.request import Origin, Request

CLIENT_ID = "X-Client-Request-ID"
_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACE = ("traceparent", "tracestate")

request_id: ContextVar[str] = ContextVar("request_id", default="")


def client_id(request: HttpRequest) -> str:
    """What its caller calls it; empty if nothing, or nothing that is safe in a log."""
    given = request.headers.get(CLIENT_ID) or request.headers.get("X-Request-ID") or ""
    return given if _PATTERN.fullmatch(given) else ""


def known(request: HttpRequest, asked: Request) -> Request:
    """The engine's request with its origin; lines that this task logs from here on have its id."""
    request_id.set(asked.id)
    trace = {name: request.headers[name] for name in _TRACE if name in request.headers}
    return replace(asked, origin=Origin(client_id=client_id(request), schedule=asked.schedule or "", trace=trace))
