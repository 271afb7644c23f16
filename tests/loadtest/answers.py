"""What a service of ours answers, right or wrong."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import torch

from diffes.errors import DiffesError
from diffes.images import png
from diffes.serving import sse
from diffes.serving.errors import answer as error_answer
from diffes.serving.schema import GenerateAnswer, StageTimes, Times
from tests.loadtest.server import Exchange, Script

ACCEPTED = sse.event("accepted", {"id": "request-1"})
PROGRESS = sse.event("progress", {"image": 0, "step": 1, "steps": 4, "stage": 0})
PREVIEW = sse.event("preview", {"image": 0, "index": 0, "b64_png": "iVBORw0KGgo="})
STAGES = [StageTimes(stage=0, steps=4, seconds=0.25, mean_batch=2.0)]
TIMES = Times(queue_seconds=0.125, total_seconds=0.5, stages=STAGES)


def picture(seed: int) -> bytes:
    """A PNG of its own for every seed."""
    return png(torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(seed)))


def digest(seed: int) -> str:
    """By which a row names it."""
    return sha256(picture(seed)).hexdigest()[:32]


def document(body: dict[str, Any], **other: Any) -> dict[str, Any]:
    """The answer to a body; `other` is what differs."""
    images = [b64encode(picture(body["seed"] + index)).decode() for index in range(body.get("n", 1))]
    whole = GenerateAnswer(
        id="request-1",
        seed=body["seed"],
        label=body["label"],
        size="2x2",
        schedule="fast",
        shed_from="dense",
        steps=4,
        guidance=1.5,
        bundle="b",
        deterministic=False,
        images=images,
        timings=TIMES,
    )
    return whole.model_dump() | other


def refuse(exchange: Exchange, error: DiffesError) -> None:
    """Answer as the service does what has gone wrong."""
    response = error_answer(error)
    headers = {name: response.headers[name] for name in response.headers if name != "content-length"}
    exchange.answer(bytes(response.body), response.status_code, **headers)


async def answer(exchange: Exchange) -> None:
    """As it should be, a stream on a stream's path."""
    told = document(exchange.body)
    if exchange.path.endswith("/stream"):
        exchange.stream(ACCEPTED, PROGRESS, sse.KEEPALIVE, PREVIEW, sse.event("result", told))
    else:
        exchange.answer(json.dumps(told).encode())


async def never(exchange: Exchange) -> None:  # noqa: ARG001
    """Nothing comes."""
    await asyncio.Event().wait()


def after(step: Callable[[Exchange], object]) -> Script:
    """A script of a step that does not wait."""

    async def script(exchange: Exchange) -> None:
        step(exchange)

    return script
