"""diffusers behind FastAPI, as one writes it.

PEER_MODEL=models/cifar10-dit python -m loadtest.peers.fastapi_service --port 3001
"""

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Response

from loadtest.peers.peer import Answer, Asked, Peer, Refused, Settings

_KEEP_ALIVE_SECONDS = 75  # uvicorn's 5 are httpx' too: a client asks on a connection in the moment it is closed
_GRACE_SECONDS = 30


def create_app(peer: Peer) -> FastAPI:
    """The service of one model."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        peer.close()

    app = FastAPI(title="diffusers", lifespan=lifespan)

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response(status_code=200 if peer.ready else 503)

    @app.get("/v1/info")
    async def info() -> dict[str, Any]:
        return peer.info()

    @app.post("/generate")
    def generate(asked: Asked) -> Answer:
        if not peer.ready:
            raise HTTPException(503, "the model is not open yet")
        try:
            return peer.generate(asked)
        except Refused as error:
            raise HTTPException(422, str(error)) from error

    return app


def main() -> None:
    """Serve until SIGTERM, and end with 0; with what is wrong with the model, if it cannot be opened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args()
    peer = Peer(Settings())
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(peer),
            host=options.host,
            port=options.port,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )

    def end_if_failed(opened: Future[Any]) -> None:
        server.should_exit = server.should_exit or opened.exception() is not None

    peer.opened.add_done_callback(end_if_failed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it once more when it has ended
    server.run()
    peer.opened.result()


if __name__ == "__main__":
    main()
