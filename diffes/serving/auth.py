"""Who may ask: if a service has API keys, every path but the open ones needs one. Probes and metrics are BentoML's."""

import logging
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from diffes.serving.errors import unauthorized
from diffes.serving.keys import Keys

OPEN = ("/", "/openapi.json")  # a page and a description that tell nothing of what is served

logger = logging.getLogger(__name__)


class RequireKey:
    """Answers 401 before a body is read. `keys` is asked at every request, since a service knows them after its app."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let who has a key through, and everyone where there is none."""
        if scope["type"] == "http" and scope["path"] not in OPEN and (keys := self._keys()):
            key = _presented(Headers(scope=scope))
            name = None if key is None else keys.name_of(key)
            if name is None:
                await unauthorized(found="none" if key is None else "one that is not known")(scope, receive, send)
                return
            logger.info("%s %s by key %s", scope["method"], scope["path"], name)
        await self._app(scope, receive, send)


def _presented(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
