"""diffusers behind BentoML, as one writes it: a sync endpoint, for which BentoML has one thread.

PEER_MODEL=models/cifar10-dit python -m bentoml serve loadtest.peers.bentoml_service:Diffusers --port 3002

BentoML's own /readyz has no answer before the service was made, which the model's opening is a part of.
"""

import os
import signal
from typing import Any

import bentoml
from bentoml.exceptions import InvalidArgument
from fastapi import FastAPI

from loadtest.peers.peer import Answer, Asked, Peer, Refused, Settings

_SECONDS = 300.0  # as BentoML's examples of diffusion models have it; its 60 are fewer than a short queue needs

v1 = FastAPI()  # an endpoint of BentoML's takes only POST


@v1.get("/info")
async def info() -> dict[str, Any]:
    """What can be asked for."""
    service: Diffusers = bentoml.get_current_service()
    return service.peer.info()


@bentoml.service(name="diffusers", traffic={"timeout": _SECONDS})
@bentoml.asgi_app(v1, path="/v1")
class Diffusers:
    """Serves the model that the environment names."""

    def __init__(self) -> None:
        self.peer = Peer(Settings())
        if self.peer.opened.exception() is not None:
            os.kill(os.getppid(), signal.SIGTERM)  # `bentoml serve`, which would stay without a worker
        self.peer.opened.result()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def verify() -> None:
        """In the parent, before any worker: a wrong setting ends `bentoml serve` here."""
        Settings()

    @bentoml.api  # type: ignore[untyped-decorator]
    def generate(self, asked: Asked, /) -> Answer:
        """Make images."""
        try:
            return self.peer.generate(asked)
        except Refused as error:
            raise InvalidArgument(str(error)) from error

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Drop whoever waits."""
        self.peer.close()
