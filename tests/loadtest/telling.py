"""Servers that tell of themselves, as a service does or does not."""

import json
from collections.abc import Mapping
from typing import Any

from tests.loadtest.answers import answer
from tests.loadtest.server import Exchange, Script

INFO = {"labels": ["cat", "dog"], "texts": [], "schedules": {"dense": {}, "fast": {}}, "default": "fast"}


def metrics(**gauges: float) -> str:
    """A page of ours, with these gauges."""
    lines = ['diffes_requests_total{status="done"} 1.0', *(f"diffes_{name} {value}" for name, value in gauges.items())]
    return "\n".join([*lines, ""])


def telling(pages: Mapping[str, Any]) -> Script:
    """Bytes or JSON by path, or an error's status; any other path is answered as a request."""

    async def script(exchange: Exchange) -> None:
        page = pages.get(exchange.path)
        match page:
            case None:
                await answer(exchange)
            case int():
                exchange.answer(b"", page)
            case bytes() | str():
                exchange.answer(page if isinstance(page, bytes) else page.encode())
            case _:
                exchange.answer(json.dumps(page).encode())

    return script
