"""The HTTP face of an engine: `POST /generate`, `GET /v1/info`, `GET /openapi.json`."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from uuid import uuid4

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diffes.engine.request import Result
from diffes.errors import DiffesError, Overloaded
from diffes.images import grid_png
from diffes.serving.errors import answer, answer_bug, answer_http
from diffes.serving.openapi import document
from diffes.serving.runtime import Runtime, Served
from diffes.serving.schema import GenerateAnswer, GenerateBody, ImageFormat

MAX_BODY = 64 * 1024
ENDPOINTS = ("/", "/generate", "/v1/info", "/openapi.json")
_POLL_SECONDS = 0.1  # how soon a client that left is noticed
_CLIENT_CLOSED_REQUEST = 499

logger = logging.getLogger(__name__)


def create_app(runtime: Callable[[], Runtime]) -> Starlette:
    """The application; `runtime` is asked at every request, since a service makes it after the app."""

    async def generate(request: Request) -> Response:
        current = runtime()
        try:
            return await _generate(request, current)
        except Overloaded as error:
            return answer(error, retry_after=current.served().engine.backlog_seconds())
        except DiffesError as error:
            response = answer(error)
            if response.status_code < 429:
                current.metrics.invalid()
            return response

    async def info(_: Request) -> Response:
        return JSONResponse(_info(runtime().served()))

    async def openapi(_: Request) -> Response:
        return JSONResponse(document())

    return Starlette(
        routes=[
            Route("/generate", generate, methods=["POST"]),
            Route("/v1/info", info),
            Route("/", info),
            Route("/openapi.json", openapi),
        ],
        exception_handlers={DiffesError: _on_error, HTTPException: _on_http, Exception: _on_bug},
    )


async def _generate(request: Request, runtime: Runtime) -> Response:
    body = GenerateBody.parse(await _read(request))
    served = runtime.served()
    asked = body.request(served.bundle.labels, f"img-{uuid4().hex}")
    future = await run_in_threadpool(served.engine.submit, asked)
    result = await _result_or_gone(request, future)
    if result is None:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    wanted = body.response or _accepted(request)
    return await run_in_threadpool(_render, result, served.bundle_id, wanted)


async def _read(request: Request) -> bytes:
    """The body, refused before it is held: 413 above MAX_BODY."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"invalid body: expected at most {MAX_BODY} bytes, found more")
    return bytes(body)


async def _result_or_gone(request: Request, future: Future[Result]) -> Result | None:
    """The result, or None if the client left first; then, and on cancellation, the engine drops the request."""
    waiter = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({waiter}, timeout=_POLL_SECONDS))[0]:
            if await request.is_disconnected():
                return None
        return waiter.result()
    finally:
        waiter.cancel()


def _accepted(request: Request) -> ImageFormat:
    accept = request.headers.get("accept", "")
    return "json" if "application/json" in accept and "image/" not in accept else "png"


def _render(result: Result, bundle_id: str, wanted: ImageFormat) -> Response:
    headers = _headers(result, bundle_id)
    if wanted == "json":
        body = GenerateAnswer.of(result, bundle_id).model_dump_json()
        return Response(body, media_type="application/json", headers=headers)
    return Response(grid_png(result.images), media_type="image/png", headers=headers)


def _headers(result: Result, bundle_id: str) -> dict[str, str]:
    timings = result.timings
    spans = [("queue", timings.queue_seconds)]
    spans += [(f"stage{stage.stage}", stage.seconds) for stage in timings.stages]
    spans.append(("total", timings.total_seconds))
    return {
        "X-Request-ID": result.request.id,
        "X-Diffes-Seed": str(result.request.seed),
        "X-Diffes-Schedule": result.request.schedule,
        "X-Diffes-Bundle": bundle_id,
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1e3:.1f}" for name, seconds in spans),
    }


def _info(served: Served) -> dict[str, object]:
    manifest = served.bundle.manifest
    schedules = {
        name: {
            "macs_removed": schedule.cost.macs_removed,
            "stages": len(schedule.stages),
            "steps": schedule.sampler.steps,
            "guidance": schedule.sampler.guidance,
            "sampler": schedule.sampler.class_name,
        }
        for name, schedule in manifest.schedules.items()
    }
    return {
        "bundle": served.bundle_id,
        "model": manifest.model.class_name,
        "backend": served.backend,
        "labels": list(manifest.labels),
        "schedules": schedules,
        "default": manifest.default,
    }


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, DiffesError)
    return answer(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer_http(error)


async def _on_bug(_: Request, error: Exception) -> Response:
    logger.error("unforeseen error", exc_info=error)
    return answer_bug()
