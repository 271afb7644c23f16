"""BentoML's limit on a request's time, left out.

For every request it starts a timer that nothing stops when the request is answered (BentoML 1.4,
_internal/server/http/traffic.py). Until the limit is over each holds what was known of its request, 6 KB with the trace
context: a limit that no long queue reaches is an hour, and that long a service grows. Nothing here needs it: the engine
ends requests when their own time is over, and the watchdog a worker whose engine hangs.
"""

from bentoml._internal.server.http import traffic
from starlette.types import ASGIApp, Receive, Scope, Send


class Untimed:
    """Stands where BentoML's TimeoutMiddleware does, which every service has: its settings allow no other."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app
        self.timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        await self._app(scope, receive, send)


def leave_requests_untimed() -> None:
    """In this process, for apps that BentoML makes from now on."""
    traffic.TimeoutMiddleware = Untimed  # looked up by name when an app is made
