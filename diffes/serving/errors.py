"""Every error as HTTP, in one shape: {"error": {"message", "type", "param", "code"}}, as the OpenAI API has it."""

import logging
from math import ceil
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from diffes.errors import Cancelled, Closed, DiffesError, EngineError, Expired, InvalidInput, NotReady, Overloaded
from diffes.serving.bodies import MalformedBody

logger = logging.getLogger(__name__)


class _Kind(NamedTuple):
    status: int
    type: str
    code: str


_KINDS: dict[type[DiffesError], _Kind] = {
    MalformedBody: _Kind(400, "invalid_request_error", "malformed_json"),
    InvalidInput: _Kind(422, "invalid_request_error", "invalid_value"),
    Overloaded: _Kind(429, "overloaded_error", "queue_full"),
    Cancelled: _Kind(410, "invalid_request_error", "cancelled"),
    Expired: _Kind(504, "timeout_error", "deadline_exceeded"),
    NotReady: _Kind(503, "unavailable_error", "not_ready"),
    Closed: _Kind(503, "unavailable_error", "closing"),
    EngineError: _Kind(500, "server_error", "engine_failed"),
}
_STATUSES: dict[int, tuple[str, str]] = {
    404: ("not_found", "no such path"),
    405: ("method_not_allowed", "this path does not take that method"),
    413: ("body_too_large", "the body is too large"),
    415: ("unsupported_media_type", "the body is no JSON"),
}


def answer(error: DiffesError, *, invalid: int = 422) -> JSONResponse:
    """A DiffesError as a response; 429 and 503 say when to come back (seconds). `invalid` is a wrong value's status."""
    kind = _kind_of(error)
    if kind.status == 500:
        logger.error("request failed: %s", error)
    headers = {}
    if kind.status in (429, 503):
        after = error.retry_after if isinstance(error, Overloaded) else 1.0
        headers["Retry-After"] = str(min(max(ceil(after), 1), 120))
    if kind.status == 504:
        headers["x-should-retry"] = "false"  # the openai clients would send it twice more, to expire again
    status = invalid if kind.status == 422 else kind.status
    return JSONResponse(error_of(error), status_code=status, headers=headers)


def error_of(error: DiffesError) -> dict[str, Any]:
    """The body that tells of an error."""
    kind = _kind_of(error)
    param = error.field if isinstance(error, InvalidInput) else None
    code = error.reason if isinstance(error, Overloaded) else kind.code
    message = error.what if kind.status == 500 else str(error)  # what a runtime raised is for the log
    return _body(message, kind.type, code, param)


def missing(message: str, param: str | None = None, code: str = "not_found") -> JSONResponse:
    """What a path or a field names is not there."""
    return JSONResponse(_body(message, "invalid_request_error", code, param), status_code=404)


def unauthorized(found: str) -> JSONResponse:
    """No API key, or a wrong one (RFC 6750)."""
    message = f"invalid API key: expected `Authorization: Bearer KEY` with a key of this service, found {found}"
    body = _body(message, "invalid_request_error", "invalid_api_key", None)
    return JSONResponse(body, status_code=401, headers={"WWW-Authenticate": "Bearer"})


def answer_http(error: HTTPException) -> JSONResponse:
    """Starlette's own refusals in the same shape."""
    code, message = _STATUSES.get(error.status_code, ("http_error", str(error.detail)))
    headers = dict(error.headers or {})
    detail = error.detail if error.status_code in (413, 415) else message
    return JSONResponse(
        _body(detail, "invalid_request_error", code, None), status_code=error.status_code, headers=headers
    )


def answer_bug() -> JSONResponse:
    """What no handler foresaw; the log has the traceback."""
    return JSONResponse(_body("internal error", "server_error", "internal_error", None), status_code=500)


def _kind_of(error: DiffesError) -> _Kind:
    return next((_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS), _KINDS[EngineError])


def _body(message: str, type_: str, code: str, param: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}
