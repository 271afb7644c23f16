"""A request's id says which worker was asked, and so knows where it is."""

import re
from uuid import uuid4

_ID = re.compile(r"img-(\d{1,6})-[0-9a-f]{32}")


def new_id(worker: int) -> str:
    """Of a request that this worker (1, 2, ...) was asked for."""
    return f"img-{worker}-{uuid4().hex}"


def worker_of(request_id: str) -> int | None:
    """The worker that was asked; None for what is no id."""
    found = _ID.fullmatch(request_id)
    return int(found.group(1)) if found else None
