"""A request's id says which worker was asked."""

from uuid import uuid4


def new_id(worker: int) -> str:
    """Of a request that this worker (1, 2, ...) was asked for."""
    return f"img-{worker}-{uuid4().hex}"
