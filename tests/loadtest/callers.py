"""Callers of one request each."""

from contextlib import closing
from time import perf_counter
from typing import Any

from loadtest.asking import Asker
from loadtest.mix import Asked
from loadtest.plan import Call
from loadtest.rows import Row
from tests.loadtest.server import Script, serving

PLAIN, STREAM = Asked(label=3, seed=5), Asked(label=3, seed=5, stream=True, previews=2)


def asking(url: str, patience: float = 10.0, **options: Any) -> closing[Asker]:
    """An asker, until the block ends."""
    return closing(Asker(url, patience=patience, **options))


def one(asker: Asker, asked: Asked = PLAIN) -> Row:
    """What became of one request."""
    return asker.ask(Call(7, 0.25, asked), "run-7", perf_counter())


def ended(script: Script, asked: Asked = PLAIN, patience: float = 10.0) -> Row:
    """What became of the only request at a server that follows the script."""
    with serving(script) as server, asking(server.url, patience) as asker:
        return one(asker, asked)
