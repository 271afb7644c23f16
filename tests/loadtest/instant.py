"""A service that answers at once, and tells so."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from diffes.serving import sse
from diffes.serving.schema import Times
from tests.loadtest.answers import document, picture
from tests.loadtest.server import Exchange, Script
from tests.loadtest.telling import INFO, telling

AT_ONCE = Times(queue_seconds=0, total_seconds=0, stages=[]).model_dump()
_pages = telling({"/v1/info": INFO, "/metrics": 404})


def instant(wrong: Callable[[Mapping[str, Any]], bool] = lambda _: False) -> Script:
    """Knows two labels and two schedules, and has no metrics; the image of a `wrong` body is another's."""

    def answered(body: dict[str, Any]) -> dict[str, Any]:
        image = b64encode(picture(body["seed"] + wrong(body))).decode()
        named = {"schedule": body.get("schedule", INFO["default"]), "shed_from": None}
        return document(body, timings=AT_ONCE, images=[image], **named)

    async def follow(exchange: Exchange) -> None:
        match exchange.path:
            case "/generate":
                exchange.answer(json.dumps(answered(exchange.body)).encode())
            case "/generate/stream":
                exchange.stream(sse.event("result", answered(exchange.body)))
            case _:
                await _pages(exchange)

    return follow
