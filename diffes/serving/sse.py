"""Server-sent events (WHATWG HTML, section 9.2)."""

import json
from typing import Any

KEEPALIVE = b": waiting\n\n"


def event(name: str | None, data: dict[str, Any]) -> bytes:
    """One event with JSON as its data."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
